import time

import pytest
import torch

from torrey.acquisition import electrostatic_directions
from torrey.acquisition.directions import electrostatic_energy
from torrey.errors import InputError


def test_three_directions_are_orthogonal():
    u = electrostatic_directions(3)
    # The energy is stationary, so directions are good to the square root of its last digits.
    torch.testing.assert_close(u @ u.T, torch.eye(3).double(), rtol=0, atol=1e-6)


def test_six_directions_are_the_axes_of_an_icosahedron():
    cosines = electrostatic_directions(6) @ electrostatic_directions(6).T
    off_diagonal = cosines[~torch.eye(6, dtype=torch.bool)].abs()
    torch.testing.assert_close(off_diagonal, torch.full((30,), 5**-0.5).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("n_directions", "thomson_energy"),
    # Minima of the Thomson problem for 2n charges whose minimiser has inversion symmetry (octahedron,
    # icosahedron, 32 charges): Wales and Ulker, Phys. Rev. B 74, 212101 (2006).
    [(3, 9.985281374), (6, 49.165253058), (16, 412.261274651)],
)
def test_energy_is_that_of_the_thomson_problem(n_directions, thomson_energy):
    # Twice the pairs of lines, and each charge with its own opposite, at distance 2.
    energy = 2 * electrostatic_energy(electrostatic_directions(n_directions)) + n_directions / 2
    assert energy == pytest.approx(thomson_energy, rel=1e-9)


def test_energy_by_hand():
    # Two lines at 90°: two distances of √2.
    u = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).double()
    assert electrostatic_energy(u) == pytest.approx(2**0.5, rel=1e-14)


def test_sixty_directions_are_unit_deterministic_quick_and_even():
    start = time.perf_counter()
    u = electrostatic_directions(60)
    # Measured 0.1 to 0.5 s; ten times that is a defect and not a busy machine.
    assert time.perf_counter() - start < 5
    assert u.dtype == torch.float64
    assert torch.equal(u, electrostatic_directions(60))
    torch.testing.assert_close(u.norm(dim=1), torch.ones(60).double(), rtol=0, atol=1e-14)
    assert (u[:, 2] >= 0).all()
    cosines = (u @ u.T).abs().fill_diagonal_(0)
    nearest = torch.rad2deg(cosines.max(dim=1).values.acos())
    # Fejes Tóth: of 120 points two are nearer than 19.94°; a spread set comes within 15 % of that everywhere.
    assert 17 < nearest.min() < 19.94


def test_a_generator_starts_elsewhere_and_ends_as_low():
    u = electrostatic_directions(10, generator=torch.Generator().manual_seed(3))
    v = electrostatic_directions(10, generator=torch.Generator().manual_seed(3))
    assert torch.equal(u, v)
    assert not torch.allclose(u, electrostatic_directions(10))
    assert electrostatic_energy(u) == pytest.approx(
        electrostatic_energy(electrostatic_directions(10)), rel=1e-8
    )


@pytest.mark.parametrize("n_directions", [0, -1, 2.5, True])
def test_bad_counts_are_refused(n_directions):
    with pytest.raises(InputError, match="n_directions"):
        electrostatic_directions(n_directions)

"""Signals of each compartment: an exact solution, that of the whole, both solvers, two pools, differences."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from signal_cases import coarse_on_purpose, few_measurements
from test_compartments import DATA, halves, spindoctor, spindoctor_protocol
from test_three_axes import mixed_encodings

import torrey
from torrey.acquisition import Acquisition
from torrey.errors import InputError
from torrey.mesh import TetMesh, box, layered_sphere
from torrey.signal import BlochTorrey, MatrixFormalism, Tissue, simulate

COMPLETE = MatrixFormalism(modes=10_000)


def each(mesh, tissue, acquisition, solver):
    with coarse_on_purpose():
        return torrey.simulate_compartments(mesh, tissue, acquisition, solver=solver)


@pytest.mark.parametrize("name", ["nested_T2", "permeable", "impermeable"])
@pytest.mark.parametrize(
    # the bounds of the project; the time stepping is made for its tolerance
    ("solver", "bound", "every"),
    [
        (MatrixFormalism(), 1e-3, 11),
        (MatrixFormalism(tolerance=1e-5), 1e-4, 31),
        (BlochTorrey(tolerance=1e-5), 1e-5, 31),
    ],
    ids=["default", "1e-5", "stepping"],
)
def test_signals_are_those_of_an_exact_solution_on_the_same_mesh(name, solver, bound, every):
    acquisition = spindoctor_protocol()
    rows = torch.arange(0, acquisition.n_measurements, every)
    ours = each(*spindoctor(name), acquisition.subset(rows), solver).numpy()
    exact = DATA[f"{name}_each_exact"].reshape(-1, 2)[rows]
    assert np.abs(ours - exact).max() < bound * float(DATA[f"{name}_S0"])


def several():
    """Return three layers, of which the last exchanges nothing, and all that a tissue may have."""
    mesh = box((3.0, 2.5, 6.0), (1, 2, 6))
    layer = (mesh.vertices[mesh.tets].mean(1)[:, 2] + 3.0).div(2.0).long()
    tissue = Tissue(
        diffusivity=[1.0, 2.0, 1.5],
        T2=[40.0, 90.0, 60.0],
        spin_density=[1.0, 0.4, 0.7],
        permeability={(0, 1): 0.3},
        surface_relaxivity={1: 0.05},
    )
    return TetMesh(mesh.vertices, mesh.tets, layer), tissue


@pytest.mark.parametrize(("order", "rows"), [(1, [7, 9, 11]), (2, [10])])
def test_both_solvers_agree_on_all_sequences_and_the_parts_make_up_the_whole(order, rows):
    mesh, tissue = several()
    acquisition = mixed_encodings().subset(rows)
    here = each(mesh, tissue, acquisition, MatrixFormalism(modes=10_000, order=order))
    there = each(mesh, tissue, acquisition, BlochTorrey(tolerance=1e-5, order=order))
    with coarse_on_purpose():
        whole = simulate(mesh, tissue, acquisition, solver=MatrixFormalism(modes=10_000, order=order))
    content = float((mesh.volumes * tissue.spin_density[mesh.compartments]).sum())
    # the time steps of matrix formalism are good to 3e-5
    assert float((here - there).abs().max()) < 4e-5 * content
    assert float((here.sum(1) - whole).abs().max()) < 4e-5 * content


def test_closed_compartments_are_those_simulated_alone():
    mesh, D, T2 = halves((1, 2, 4)), [1.0, 2.5], [40.0, 90.0]
    acquisition = few_measurements().subset(slice(0, None, 5))
    closed = {(0, 1): 0.0}
    together = each(mesh, Tissue(diffusivity=D, T2=T2, permeability=closed), acquisition, COMPLETE)
    for c in (0, 1):
        used, tets = torch.unique(mesh.tets[mesh.compartments == c], return_inverse=True)
        alone = Tissue(diffusivity=D[c], T2=T2[c])
        with coarse_on_purpose():
            expected = simulate(TetMesh(mesh.vertices[used], tets), alone, acquisition, solver=COMPLETE)
        # the same steps; that at b = 0 of the relaxation by e^{−TE/T2} at once or in parts
        torch.testing.assert_close(together[:, c], expected, rtol=0, atol=3e-5 * float(mesh.volume))


def test_without_a_gradient_two_pools_follow_their_exchange():
    """Uniform in each half, from a line that is shorter than D/κ: dS/dt of two pools, to (κL/D)."""
    kappa, T2, time = 0.002, np.array([20.0, 200.0]), 40.0
    mesh = halves((1, 1, 8))
    tissue = Tissue(diffusivity=3.0, T2=T2, permeability={(0, 1): kappa})
    still = Acquisition.pgse([0.0], [[0.0, 0, 1]], small_delta=5.0, big_delta=10.0, echo_time=time)
    k = kappa / 2.5
    exact = expm(time * np.array([[-k - 1 / T2[0], k], [k, -k - 1 / T2[1]]])) @ np.full(2, 3 * 2.5 * 2.5)
    for solver in (COMPLETE, BlochTorrey()):
        ours = each(mesh, tissue, still, solver)[0]
        # κL/D = 2e-3, of the exchanged share of a twentieth; without exchange 1e-2 to 3e-1
        np.testing.assert_allclose(ours.real.numpy(), exact, rtol=1e-3)
        assert float(ours.imag.abs().max()) < 1e-10


def test_at_equilibrium_nothing_moves():
    mesh, tissue = halves(), Tissue(spin_density=[1.0, 0.3], permeability={(0, 1): 0.2})
    still = few_measurements().subset([0, 20])
    ours = each(mesh, tissue, still, MatrixFormalism(modes=12))
    np.testing.assert_allclose(ours.numpy(), [[18.75, 0.3 * 18.75]] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("solver", "rows"),
    [
        (MatrixFormalism(modes=12, exact_gradient=True), [7, 9, 11]),
        (MatrixFormalism(modes=12, order=2, exact_gradient=True), [11]),
        (BlochTorrey(tolerance=1e-2), [7, 9]),
    ],
    ids=["modes", "order 2", "stepping"],
)
def test_gradients(solver, rows):
    """In all that a tissue has, vertices and gradient vectors, moved together, against differences."""
    mesh, acquisition = halves((1, 1, 3)), mixed_encodings().subset(rows)
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    u, turn = 0.05 * random(*mesh.vertices.shape), 5 * random(*acquisition.gradients.shape)
    tissue = Tissue(
        diffusivity=[1.0, 2.0],
        T2=[50.0, 80.0],
        spin_density=[1.0, 0.6],
        permeability={(0, 1): 0.3},
        surface_relaxivity={1: 0.05},
    )
    slopes = {name: 1 + 0.3 * random(2) for name in ("diffusivity", "T2", "spin_density")}
    weights = random(2, len(rows), 2)
    a, base = acquisition, mesh.vertices + 2 * u  # away from the symmetric place
    echo_time = a.echo_time + 6.0  # pauses, in which relaxation differs

    def loss(step):
        s = torch.as_tensor(step, dtype=torch.float64)
        values = {name: getattr(tissue, name) * (1 + s * slope) for name, slope in slopes.items()}
        moved = Tissue(
            **values,
            permeability={(0, 1): 0.3 * (1 + s)},
            surface_relaxivity={1: 0.05 * (1 - s)},
        )
        times = a.small_delta, a.big_delta, echo_time
        now = Acquisition(a.gradients + s * turn, *times, a.waveforms, a.waveform_of)
        ours = each(mesh.with_vertices(base + s * u), moved, now, solver)
        return (weights[0] * ours.real + weights[1] * ours.imag).sum()

    step, h = torch.zeros((), dtype=torch.float64, requires_grad=True), 1e-3
    (ours,) = torch.autograd.grad(loss(step), step)
    with torch.no_grad():
        first, second, third, fourth = (float(loss(k * h)) for k in (-2, -1, 1, 2))
    # the fourth power of h
    assert float(ours) == pytest.approx((first - 8 * second + 8 * third - fourth) / (12 * h), rel=1e-6)


def test_fixed_basis_with_a_permeable_wall():
    """In the permeability, against differences of the same truncated computation."""
    mesh, acquisition = layered_sphere((2.0, 3.0), resolution=3), few_measurements().subset([24])

    def signals(kappa):
        tissue = Tissue(diffusivity=[1.0, 2.0], spin_density=[0.7, 1.0], permeability={(0, 1): kappa})
        return each(mesh, tissue, acquisition, MatrixFormalism(modes=62)).real[0]

    kappa, h = torch.ones((), dtype=torch.float64, requires_grad=True), 1e-3
    ours = [float(torch.autograd.grad(part, kappa, retain_graph=True)[0]) for part in signals(kappa)]
    with torch.no_grad():
        expected = (signals(1 + h) - signals(1 - h)) / (2 * h)
    # without the change of the slow modes in what sees the parts 2e-2, and without any 2e-2 to 5e-2
    assert ours == pytest.approx(expected.tolist(), rel=3e-3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="values for 3 compartments, expected 2"):
        each(halves(), Tissue(diffusivity=[1.0, 2.0, 3.0]), few_measurements(), COMPLETE)

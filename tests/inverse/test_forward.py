import math
from dataclasses import replace

import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.acquisition.directions import electrostatic_directions
from torrey.inverse.forward import ForwardModel
from torrey.mesh import TetMesh, cylinder
from torrey.mesh.validate import validate
from torrey.shape import Tube
from torrey.shape.vertices import Vertices
from torrey.signal import MatrixFormalism, Tissue, simulate

TUBE = Tube(n_control=5, n_radius=5, n_rings=1, n_layers=10)
SMALL = Tube(n_control=4, n_radius=4, n_rings=1, n_layers=4)

TIME_STEPS = 1e-3
"""The Jacobian is that of the signal of sixth order in time, which leaves 3e-4 here."""


def acquisition():
    directions = electrostatic_directions(6).repeat(2, 1)
    bvals = torch.tensor([1000.0] * 6 + [3000.0] * 6)
    return Acquisition.pgse(bvals, directions, small_delta=5.0, big_delta=[15.0] * 6 + [40.0] * 6)


def model(*, normalised=True, n_modes=60, shape=TUBE, order=2, tissue=None):
    tissue = Tissue(diffusivity=2.0) if tissue is None else tissue
    return ForwardModel(shape, tissue, acquisition(), normalised, n_modes, order)


def bent(seed=0, *, bend=0.6, bead=0.15):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(TUBE.n_latent, generator=generator, dtype=torch.float64)
    latent = TUBE.straight(length=12.0, radius=1.8, direction=(0.3, 0.5, 0.8))
    return latent + torch.cat([bend * noise[:15], bead * noise[15:]])


def small_latent():
    latent = SMALL.straight(length=6.0, radius=1.5, direction=(0.3, 0.5, 0.8))
    return latent + 0.2 * torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def central_differences(function, latent, step):
    steps = step * torch.eye(len(latent), dtype=latent.dtype)
    return torch.stack([(function(latent + h) - function(latent - h)) / (2 * step) for h in steps], dim=1)


@pytest.mark.parametrize("normalised", [True, False])
def test_prediction_is_that_of_simulate(normalised):
    tissue = Tissue(diffusivity=1.7, T2=60.0, spin_density=0.8)
    forward = model(normalised=normalised, tissue=tissue)
    latent = bent()
    solver = MatrixFormalism(modes=60, order=2)
    signal = simulate(TUBE.mesh(latent), tissue, acquisition(), solver=solver)
    echo = torch.exp(-acquisition().echo_time / 60.0)
    expected = signal.real / (0.8 * echo * TUBE.mesh(latent).volume) if normalised else signal.real
    assert torch.allclose(forward.predict(latent), expected, rtol=1e-9)
    assert torch.allclose(forward.at(latent).linearise().predicted, expected, rtol=1e-9)


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("latent", [bent(0), bent(4)], ids=["bent", "bent otherwise"])
def test_jacobian_against_central_differences(normalised, latent):
    forward = model(normalised=normalised)
    at = forward.at(latent).linearise()
    expected = central_differences(forward.predict, latent, 1e-4)
    assert at.jacobian.shape == (12, TUBE.n_latent)
    # modes held fixed: 60 of them are a cut near 1 µm, and the part outside their span is left out
    error = (at.jacobian - expected).norm(dim=0) / expected.norm(dim=0)
    assert float(error.max()) < 2e-2
    assert float((at.jacobian - expected).norm() / expected.norm()) < 5e-3


def test_more_modes_bring_the_jacobian_nearer_to_differences():
    latent = small_latent()
    errors = []
    for n_modes in (10, 20, 35):
        forward = model(shape=SMALL, n_modes=n_modes, order=1)
        expected = central_differences(forward.predict, latent, 1e-4)
        errors.append(float((forward.at(latent).linearise().jacobian - expected).norm() / expected.norm()))
    # 35 vertices: all modes leave nothing out, and the coarser time steps of the Jacobian remain
    assert errors[2] < TIME_STEPS
    assert errors[0] > errors[1] > errors[2]


def test_jacobian_of_a_straight_tube_is_that_of_its_symmetry():
    """No NaN at equal eigenvalues; bending to either side gives the same signal along the axis."""
    forward = model()
    latent = TUBE.straight(length=12.0, radius=1.8)
    J = forward.at(latent).linearise().jacobian
    assert torch.isfinite(J).all()
    expected = central_differences(forward.predict, latent, 1e-4)
    assert float((J - expected).norm() / expected.norm()) < 5e-3


def test_the_signal_does_not_see_translation():
    forward = model()
    latent = bent()
    J = forward.at(latent).linearise().jacobian
    shift = torch.zeros(TUBE.n_latent, 3, dtype=torch.float64)
    for axis in range(3):
        shift[axis:15:3, axis] = 1.0
    # exact for the discrete signal, but for rounding
    assert (J @ shift).abs().max() < 1e-9 * J.abs().max()


def test_unnormalised_signal_grows_as_the_volume():
    forward = model(normalised=False)
    latent = TUBE.straight(length=12.0, radius=1.8)
    wider = torch.zeros(TUBE.n_latent, dtype=torch.float64)
    wider[15:] = 1.0  # log-radius
    weak = Acquisition.pgse([0.0], [[1.0, 0, 0]], small_delta=5.0, big_delta=15.0)
    at = replace(forward, acquisition=weak).at(latent).linearise()
    volume = math.pi * 1.8**2 * 12
    assert float(at.predicted) == pytest.approx(volume, rel=1e-9)
    assert float(at.jacobian @ wider) == pytest.approx(2 * volume, rel=1e-9)
    assert (
        replace(forward, acquisition=weak, normalised=True).at(latent).linearise().jacobian.abs().max() < 1e-9
    )


def test_metric_is_the_mean_square_displacement_of_the_vertices():
    forward = model()
    latent = bent()
    metric = forward.at(latent).linearise().metric
    generator = torch.Generator().manual_seed(5)
    for _ in range(3):
        d = torch.randn(TUBE.n_latent, generator=generator, dtype=torch.float64)
        h = 1e-4 / float(d.norm())
        moved = (TUBE.vertices(latent + h * d) - TUBE.vertices(latent - h * d)) / (2 * h)
        assert float(d @ metric @ d) == pytest.approx(float(moved.square().sum(1).mean()), rel=1e-6)
    assert torch.allclose(metric, metric.T)


def test_metric_damps_every_free_vertex():
    """A direction without displacement would have no limit to a damped step."""
    shape = Vertices(template=cylinder(1.8, 8.0, n_rings=1, n_layers=5))
    latent = torch.zeros(shape.n_latent, dtype=torch.float64)
    metric = model(shape=shape, n_modes=20, order=1).at(latent).linearise().metric
    values = torch.linalg.eigvalsh(metric)
    # of a latent the smoothing leaves 1/(1 + 16 λ), λ at most twice the largest degree, here about 28
    assert float(values[0]) > 1e-6 * float(values[-1])


def test_free_vertices_have_the_jacobian_of_their_differences():
    shape = Vertices(template=cylinder(1.8, 8.0, n_rings=1, n_layers=5))
    forward = model(shape=shape, n_modes=42, order=1)
    generator = torch.Generator().manual_seed(0)
    latent = 0.5 * torch.randn(shape.n_latent, generator=generator, dtype=torch.float64)
    J = forward.at(latent).linearise().jacobian
    direction = torch.randn(shape.n_latent, generator=generator, dtype=torch.float64)
    h = 1e-5
    slope = (forward.predict(latent + h * direction) - forward.predict(latent - h * direction)) / (2 * h)
    # all 42 modes of 42 vertices: nothing is left out of their span
    assert float((J @ direction - slope).norm() / slope.norm()) < TIME_STEPS


def test_misfit_gradient_is_the_transposed_jacobian_times_the_residual():
    forward = model()
    latent = bent()
    measured = forward.predict(bent(4))
    loss, gradient = forward.misfit_gradient(latent, measured)
    at = forward.at(latent).linearise()
    residual = at.predicted - measured
    assert float(loss) == pytest.approx(float(residual.square().mean()), rel=1e-9)
    expected = 2 * at.jacobian.T @ residual / len(measured)
    assert float((gradient - expected).norm() / expected.norm()) < TIME_STEPS


def test_misfit_gradient_with_all_modes_is_that_of_differences():
    forward = model(shape=SMALL, n_modes=35, order=1, normalised=False)
    latent = small_latent()
    measured = forward.predict(SMALL.straight(length=6.0, radius=1.5))
    _, gradient = forward.misfit_gradient(latent, measured)

    def loss(x):
        return (forward.predict(x) - measured).square().mean()[None]

    expected = central_differences(loss, latent, 1e-4)[0]
    # differences of second order: the square of the step over lengths of a µm
    assert float((gradient - expected).norm() / expected.norm()) < 1e-6


def test_folded_and_infinite_latents_are_not_admissible():
    forward = model()
    assert forward.admissible(bent())
    assert not forward.admissible(bent(bend=8.0))
    latent = bent()
    latent[0] = math.nan
    assert not forward.admissible(latent)


def test_a_latent_that_folds_the_finest_mesh_is_not_admissible():
    """A bend between two layers of the coarse mesh, which the layers of the finer one see."""
    coarse = Tube(n_control=16, n_radius=4, n_layers=4, n_rings=1)
    finest = replace(coarse, n_layers=64)
    latent = coarse.straight(length=16.0, radius=1.0)
    centreline, _ = coarse.split(latent)
    centreline[7, 0] += 0.9
    forward = model(shape=coarse)
    assert forward.admissible(latent)
    assert not replace(forward, finest=finest).admissible(latent)


def test_a_flat_tet_is_not_admissible():
    """As `validate` judges: what a fit ends with must be fit for simulation."""
    tet = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.3, 0.3, 0.5]], dtype=torch.float64)
    template = TetMesh(tet, torch.tensor([[0, 1, 2, 3]]))
    shape = Vertices(template=template)
    assert model(shape=shape).admissible(shape.latent_of(tet))
    tet[3, 2] = 1e-10
    assert float(template.with_vertices(tet).volume) > 0
    assert validate(template.with_vertices(tet)).degenerate.tolist() == [0]
    assert not model(shape=shape).admissible(shape.latent_of(tet))


def test_with_change_out_of_the_span_the_jacobian_is_that_of_differences():
    """However few the modes: what is left, 1.1e-3, is the order of the time steps."""
    latent = small_latent()
    held = model(shape=SMALL, n_modes=7, order=1)
    exact = replace(held, out_of_span="all")
    modes = exact.at(latent).basis.modes
    # differences must not swap modes across the cut
    assert modes.next_value > 1.01 * modes.values[modes.n_modes - 1]
    expected = central_differences(exact.predict, latent, 1e-5)
    errors = [
        float((each.at(latent).linearise().jacobian - expected).norm() / expected.norm())
        for each in (held, exact)
    ]
    assert errors[1] < 2 * TIME_STEPS
    # measured 1.8e-2
    assert errors[0] > 10 * errors[1]

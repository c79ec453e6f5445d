import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.acquisition.directions import electrostatic_directions
from torrey.errors import InputError
from torrey.inverse import Adam, Iteration, LevenbergMarquardt, reconstruct
from torrey.inverse.fit import USUAL_FINE
from torrey.inverse.metrics import chamfer_up_to_inversion
from torrey.mesh import cylinder, validate
from torrey.shape import Tube, Vertices
from torrey.signal import MatrixFormalism, Tissue, simulate

TISSUE = Tissue(diffusivity=2.0)
ACQUISITION = Acquisition.shells_of(
    [500, 1500, 4000], electrostatic_directions(12), small_delta=5.0, big_delta=[15.0, 40.0]
)

TRUTH = Tube(n_control=5, n_radius=5, n_rings=3, n_layers=24)
SHAPE = Tube(n_control=4, n_radius=4, n_rings=1, n_layers=8)
DIRECTION = (0.3, -0.5, 0.8)

SNR = 50


@cache
def truth(name):
    """Return a mesh of other connectivity than the fit's, more than four times as fine, and its signals."""
    if name == "straight":
        latent = TRUTH.straight(length=8.0, radius=1.5, direction=DIRECTION)
    else:
        control, log_radius = TRUTH.split(TRUTH.straight(length=10.0, radius=1.5, direction=DIRECTION))
        s = torch.linspace(-1, 1, 5, dtype=torch.float64)
        sideways = torch.tensor([0.8, 0.0, -0.3], dtype=torch.float64)
        control = control + 2 * s[:, None] ** 2 * sideways + torch.tensor([5.0, -3.0, 1.0])
        latent = torch.cat([control.ravel(), log_radius + 0.15 * s])
    mesh = TRUTH.mesh(latent)
    return mesh, simulate(mesh, TISSUE, ACQUISITION, solver=MatrixFormalism(order=2, modes=80)).real


def distance(result, mesh):
    """d up to what PGSE cannot tell, with the result as round and smooth as the truth."""
    smooth = replace(SHAPE, n_rings=3, n_layers=24).mesh(result.latent)
    return chamfer_up_to_inversion(smooth, mesh, n_points=4000)


def noisy(signal, mesh):
    noise = torch.randn(len(signal), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return signal + noise * float(mesh.volume) / SNR


@pytest.mark.parametrize(("name", "n_starts", "bound"), [("straight", 1, 0.12), ("bent", 2, 0.06)])
def test_every_start_finds_the_shape(name, n_starts, bound):
    mesh, signal = truth(name)
    called = []
    result = reconstruct(signal, ACQUISITION, TISSUE, shape=SHAPE, n_starts=n_starts, progress=called.append)

    # the fitted mesh's own error is 4e-4 of S(0)
    assert max(result.start_misfits) < 4e-4
    assert result.misfit == min(result.start_misfits)
    # without b = 0 the largest signal stands for S(0)
    residual = (result.predicted - signal).square().mean().sqrt() / signal.max()
    assert result.misfit == pytest.approx(float(residual), rel=1e-6)
    # measured: 0.08 µm, as a slight wave and a smaller radius trade places, and 0.03 µm, where the straight
    # cylinder of equal volume is 0.27 µm away
    assert distance(result, mesh) < bound

    assert validate(result.mesh).ok
    assert torch.equal(result.mesh.vertices, SHAPE.vertices(result.latent))
    assert float(result.mesh.volume) == pytest.approx(float(mesh.volume), rel=0.01)

    assert tuple(called) == result.history
    assert all(isinstance(item, Iteration) for item in called)
    assert {item.start for item in called} == set(range(n_starts))
    assert [item.seconds for item in called] == sorted(item.seconds for item in called)
    assert called[-1].misfit < 0.1 * called[0].misfit
    assert result.seconds >= called[-1].seconds

    assert float(result.posterior.standard_deviations[0]) < 0.01
    # one ring of eight layers against one of twelve
    assert USUAL_FINE.floor <= result.posterior.model_sigma < 3e-3
    json.dumps(result.settings, allow_nan=False)
    assert result.settings["tissue"]["T2"] == "infinite"
    assert result.settings["shape"]["n_control"] == SHAPE.n_control


def test_a_fit_to_noise_ends_at_the_noise():
    mesh, signal = truth("bent")
    result = reconstruct(noisy(signal, mesh), ACQUISITION, TISSUE, shape=SHAPE, n_starts=1, sigma=1 / SNR)
    # of 72 measurements up to 11 are fitted by the shape; their rms varies by 1/√(2·72) = 8 %
    n = ACQUISITION.n_measurements
    assert (1 - 11 / n) ** 0.5 - 0.16 < result.misfit * SNR < 1.16
    assert result.posterior.noise_sigma == 1 / SNR
    assert result.settings["sigma"] == 1 / SNR
    # measured: 0.23 µm
    assert distance(result, mesh) < 0.4


def test_signals_over_s0_determine_the_radius_too():
    """From a straight start, without b = 0 and without the volume."""
    mesh, signal = truth("straight")
    relaxing = Tissue(diffusivity=2.0, T2=50.0, spin_density=0.7)
    result = reconstruct(
        signal / mesh.volume, ACQUISITION, relaxing, shape=SHAPE, n_starts=1, normalised=True
    )
    assert result.normalised
    assert result.settings["normalised"]
    assert result.misfit < 4e-4
    assert float(result.mesh.volume) == pytest.approx(float(mesh.volume), rel=0.03)
    assert distance(result, mesh) < 0.05
    assert result.settings["tissue"]["T2"] == 50.0


def test_the_same_seed_gives_the_same_answer():
    _, signal = truth("straight")
    few = LevenbergMarquardt(max_iterations=1)

    def latent(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return reconstruct(
            signal, ACQUISITION, TISSUE, shape=SHAPE, optimiser=few, n_starts=1, generator=generator
        )

    first, again, other = latent(None), latent(0), latent(1)
    assert torch.equal(first.latent, again.latent)
    assert first.start_misfits == again.start_misfits
    assert (first.settings["seed"], other.settings["seed"]) == (0, 1)
    assert other.start_misfits != first.start_misfits


@pytest.mark.parametrize("free_vertices", [False, True])
def test_adam_lowers_the_misfit(free_vertices):
    _, signal = truth("bent")
    shape = Vertices(template=cylinder(1.4, 9.0, n_rings=1, n_layers=6)) if free_vertices else SHAPE
    # a latent of the vertices is smoothed away to a tenth of its size
    optimiser = Adam(learning_rate=0.03 if free_vertices else 0.003, max_iterations=6)
    result = reconstruct(signal, ACQUISITION, TISSUE, shape=shape, optimiser=optimiser, n_starts=1)
    misfits = [item.misfit for item in result.history]
    assert len(misfits) == 6
    assert misfits[-1] < 0.95 * misfits[0]
    assert result.misfit < misfits[0]
    assert validate(result.mesh).ok
    assert result.settings["optimiser"]["method"] == "Adam"
    assert result.settings["shape"]["model"] == ("vertices" if free_vertices else "tube")
    json.dumps(result.settings, allow_nan=False)


def test_levenberg_marquardt_moves_free_vertices():
    _, signal = truth("bent")
    shape = Vertices(template=cylinder(1.4, 9.0, n_rings=1, n_layers=4))
    optimiser = LevenbergMarquardt(max_iterations=2)
    result = reconstruct(signal, ACQUISITION, TISSUE, shape=shape, optimiser=optimiser, n_starts=1)
    assert result.misfit < 0.1 * result.history[0].misfit
    assert {item.stage for item in result.history} == {"all"}


def test_settings_that_cannot_work_are_refused():
    _, signal = truth("straight")
    with pytest.raises(InputError, match="n_starts: expected at least 1, got 0"):
        reconstruct(signal, ACQUISITION, TISSUE, shape=SHAPE, n_starts=0)
    with pytest.raises(InputError, match="expected at most 400; use Adam"):
        reconstruct(
            signal,
            ACQUISITION,
            TISSUE,
            shape=Vertices(template=cylinder(1.4, 9.0, n_rings=2, n_layers=8)),
            optimiser=LevenbergMarquardt(),
        )
    with pytest.raises(InputError, match=r"sigma: 2\.0 is not between"):
        reconstruct(signal, ACQUISITION, TISSUE, shape=SHAPE, sigma=2.0)
    with pytest.raises(InputError, match="expected 72 values"):
        reconstruct(signal[:-1], ACQUISITION, TISSUE, shape=SHAPE)
    assert math.isinf(TISSUE.T2)


def test_a_protocol_of_strong_gradients_is_enough():
    mesh, _ = truth("straight")
    strong = Acquisition.shells_of(
        [3000, 6000], electrostatic_directions(12), small_delta=5.0, big_delta=[25.0]
    )
    signal = simulate(mesh, TISSUE, strong, solver=MatrixFormalism(order=2, modes=80)).real
    result = reconstruct(signal, strong, TISSUE, shape=SHAPE, n_starts=1)
    assert result.misfit < 4e-4
    # measured: 0.03 µm
    assert distance(result, mesh) < 0.08

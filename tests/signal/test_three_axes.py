"""Gradients that turn in space: matrix exponentials, pulses along one axis, symmetries, and derivatives."""

import math

import pytest
import torch
from reduced_models import random_model
from signal_cases import coarse_on_purpose
from test_compartments import halves

from torrey.acquisition import Acquisition, CosineOgse, axisymmetric_encoding, pulse_train
from torrey.errors import InputError
from torrey.fem.reduced import ReducedModel
from torrey.signal import (
    BlochTorrey,
    MatrixFormalism,
    Tissue,
    short_time_diffusion,
    simulate,
)
from torrey.signal.one_axis import one_axis_signal
from torrey.signal.three_axes import three_axes_signal


def random_waveforms(n=4, cells=9, *, seed=0):
    """Gradients (n, cells, 3), mT/m, without any symmetry; they add up to zero."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(n, cells, 3, generator=generator, dtype=torch.float64)
    return 900 * (samples - samples.mean(1, keepdim=True))


def free(gradients, raster=1.5, pause=4.0):
    return Acquisition.from_waveforms(gradients, raster=raster, echo_time=gradients.shape[1] * raster + pause)


def by_matrix_exponentials(model, acquisition, raster, pause):
    """One exponential a cell: exact."""
    rates, moments, start = (t.to(torch.complex128) for t in model)
    rest = torch.linalg.matrix_exp(-pause / 2 * rates)
    signals = []
    for row in range(acquisition.n_measurements):
        state = rest @ start
        for q in acquisition.free_wave_vectors(torch.tensor([row]))[0]:
            qA = torch.einsum("c,cij->ij", q.to(moments.dtype), moments)
            state = torch.linalg.matrix_exp(-raster * (rates + 1j * qA)) @ state
        signals.append((start * (rest @ state)).sum())
    return torch.stack(signals)


@pytest.mark.parametrize("repeats", [True, False])
def test_against_matrix_exponentials(repeats):
    model = random_model(10, repeats=repeats)
    acquisition = free(random_waveforms())
    ours = three_axes_signal(model, acquisition)
    assert float(ours.imag.abs().max()) > 0.1  # no symmetry in time: complex
    volume = float(model.magnetisation.square().sum())
    # the time steps are made for 3e-5
    assert float((ours - by_matrix_exponentials(model, acquisition, 1.5, 4.0)).abs().max()) < 3e-5 * volume


def test_pulses_on_a_raster_are_those_along_one_axis():
    model = random_model(12, repeats=False)
    axes = torch.nn.functional.normalize(torch.tensor([[0.0, 0, -1], [0.3, -0.5, 0.2], [1, 0, 0]]).double())
    train = pulse_train([[0, 0, 1.0]], small_delta=4.0, big_delta=10.0)
    there = Acquisition.pgse([800.0] * 3, axes, small_delta=4.0, big_delta=10.0, echo_time=17.0)
    here = Acquisition.rotated(train, [800.0] * 3, axes, echo_time=17.0)
    torch.testing.assert_close(here.gradients, there.gradients)
    torch.testing.assert_close(here.b_tensors, there.b_tensors)
    volume = float(model.magnetisation.square().sum())
    difference = three_axes_signal(model, here) - one_axis_signal(model, there)
    assert float(difference.abs().max()) < 3e-5 * volume


def derivatives(loss, *, h=1e-3):
    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(loss(step), step)
    with torch.no_grad():
        values = [float(loss(k * h)) for k in (-2, -1, 1, 2)]
    return float(ours), (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("what", ["model", "samples"])
def test_derivatives_of_the_reduced_model_and_of_every_sample(repeats, what):
    """Against differences of the same steps; all symmetric directions, also between equal positions."""
    model, gradients = random_model(8, repeats=repeats), random_waveforms(3)
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    tangent = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in model]
    tangent[1] = tangent[1] + tangent[1].mT
    # rates stay diagonal, which they must be
    tangent[0] = torch.diag(tangent[0].diagonal().abs())
    turn = 5 * torch.randn(gradients.shape, generator=generator, dtype=torch.float64)
    turn -= turn.mean(1, keepdim=True)

    def loss(step):
        moved, now = model, gradients
        if what == "model":
            moved = ReducedModel(*(t + step * d for t, d in zip(model, tangent, strict=True)))
        else:
            now = gradients + step * turn
        signal = three_axes_signal(moved, free(now))
        return (weights[0] * signal.real + weights[1] * signal.imag).sum()

    ours, difference = derivatives(loss)
    assert ours == pytest.approx(difference, rel=1e-6)


def test_each_sample_by_itself():
    """A sample changed alone, as a user who optimises a waveform on its raster sees it."""
    model = random_model(8, repeats=False)
    gradients = random_waveforms(1, 6).requires_grad_()
    signal = three_axes_signal(model, free(gradients))[0]
    (ours,) = torch.autograd.grad(signal.real, gradients)
    h = 1e-3
    for k, c in ((0, 0), (3, 1), (5, 2)):
        # small enough that the sum of the samples passes for zero
        moved = []
        for sign in (-1, 1):
            there = gradients.detach().clone()
            there[0, k, c] += sign * h
            moved.append(float(three_axes_signal(model, free(there))[0].real))
        assert float(ours[0, k, c]) == pytest.approx((moved[1] - moved[0]) / (2 * h), rel=1e-6)


def mixed_encodings():
    """Linear, planar and spherical b-tensors, a double encoding, an asymmetric waveform, and OGSE."""
    axes = torch.nn.functional.normalize(torch.tensor([[0.2, -0.4, 0.9], [1.0, 0.1, 0.3]]).double())
    parts = [
        Acquisition.rotated(axisymmetric_encoding(b_delta, 24.0, n_cells=24), [700.0, 1500.0], axes)
        for b_delta in (1.0, 0.0, -0.5)
    ]
    angled = pulse_train([[1.0, 0, 0], [0.5, math.sqrt(0.75), 0]], small_delta=3.0, big_delta=9.0, pause=3.0)
    parts.append(Acquisition.rotated(angled, [900.0], axes[:1]))
    parts.append(Acquisition.from_waveforms(0.5 * random_waveforms(2, 8), raster=2.0))
    parts.append(Acquisition.encode(CosineOgse(1), [300.0], axes[:1], small_delta=8.0, big_delta=12.0))
    parts.append(Acquisition.pgse([600.0, 1200.0], axes, small_delta=5.0, big_delta=15.0))
    return Acquisition.concatenate(parts)


@pytest.mark.parametrize(("order", "rows"), [(1, slice(None)), (2, [3, 5, 7])])
def test_both_solvers_agree_on_a_permeable_mesh(order, rows):
    mesh, acquisition = halves((1, 2, 4)), mixed_encodings().subset(rows)
    tissue = Tissue(diffusivity=[1.0, 2.0], T2=[40.0, 90.0], permeability={(0, 1): 0.3})
    with coarse_on_purpose():
        here = simulate(mesh, tissue, acquisition, solver=BlochTorrey(tolerance=1e-5, order=order))
        there = simulate(mesh, tissue, acquisition, solver=MatrixFormalism(modes=10_000, order=order))
    # the time steps of matrix formalism are good to 3e-5
    assert float((here - there).abs().max()) < 4e-5 * float(mesh.volume)


def test_samples_of_a_permeable_mesh_by_time_stepping():
    mesh = halves((1, 1, 4))
    tissue = Tissue(diffusivity=[1.0, 2.0], permeability={(0, 1): 0.2})
    gradients = random_waveforms(2, 5)
    turn = torch.randn(gradients.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    turn = 5 * (turn - turn.mean(1, keepdim=True))

    def loss(step):
        with coarse_on_purpose():
            signal = simulate(mesh, tissue, free(gradients + step * turn), solver=BlochTorrey())
        return (signal.real + 0.5 * signal.imag).sum()

    ours, difference = derivatives(loss)
    assert ours == pytest.approx(difference, rel=1e-6)


def test_vertices_of_a_permeable_mesh():
    """Exact mode against differences."""
    mesh, acquisition = halves(), mixed_encodings().subset([2, 5, 7, 9, 11])
    tissue = Tissue(diffusivity=[1.0, 2.0], T2=[50.0, 80.0], permeability={(0, 1): 0.3})
    solver = MatrixFormalism(modes=24, exact_gradient=True)
    generator = torch.Generator().manual_seed(1)
    u = 0.05 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    base = mesh.vertices + 2 * u

    def loss(step):
        with coarse_on_purpose():
            signal = simulate(mesh.with_vertices(base + step * u), tissue, acquisition, solver=solver)
        return (signal.real + 0.5 * signal.imag).sum()

    ours, difference = derivatives(loss)
    assert ours == pytest.approx(difference, rel=1e-6)


def test_what_takes_pulses_only_says_so():
    with pytest.raises(InputError, match=r"row 0 is FreeWaveform.*, expected pul"):
        short_time_diffusion(halves(), Tissue(), free(random_waveforms()))

"""Gradients of any shape: other programs' signals, matrix exponentials, PGSE, and their derivatives."""

import numpy as np
import pytest
import torch
from reduced_models import random_model
from signal_cases import TESTS, coarse_on_purpose, few_measurements, spindoctor_mesh

from torrey.acquisition import Acquisition, CosineOgse, DoublePgse, Pgse, SineOgse, Trapezoid
from torrey.fem.reduced import ReducedModel
from torrey.signal import MatrixFormalism, Tissue, simulate
from torrey.signal.one_axis import one_axis_signal
from torrey.signal.pgse import pgse_signal

DATA = np.load(TESTS / "data" / "spindoctor_sequences.npz")
SPINDOCTOR = [CosineOgse(2), SineOgse(1), DoublePgse(2.0)]


def spindoctor_sequences():
    directions = DATA["directions"]
    n = len(directions)
    return [
        Acquisition.encode(
            waveform,
            np.repeat(DATA["bvals"][k], n),
            np.tile(directions, (DATA["bvals"].shape[1], 1)),
            small_delta=float(DATA["small_delta"][k]),
            big_delta=float(DATA["big_delta"][k]),
        )
        for k, waveform in enumerate(SPINDOCTOR)
    ]


@pytest.mark.parametrize(
    ("solver", "bound"), [(MatrixFormalism(), 1e-3), (MatrixFormalism(tolerance=1e-5), 1e-4)]
)
def test_signals_are_those_of_an_exact_solution_on_the_same_mesh(solver, bound):
    acquisition = Acquisition.concatenate(spindoctor_sequences())
    with coarse_on_purpose():
        ours = simulate(
            spindoctor_mesh("bent_twisted"), Tissue(T2=float(DATA["T2"])), acquisition, solver=solver
        )
    assert np.abs(ours.numpy() - DATA["exact"].ravel()).max() < bound * float(DATA["S0"])


def test_amplitudes_are_spindoctors():
    for part, q in zip(spindoctor_sequences(), DATA["wave_numbers"], strict=True):
        n = len(DATA["directions"])
        np.testing.assert_allclose(part.wave_vectors.norm(dim=1).numpy(), np.repeat(q, n), rtol=1e-12)


def mixed(gradients=None, echo=3.0):
    """Two measurements of each waveform, along different axes and one axis with two signs."""
    directions = torch.tensor([[0.6, 0.0, 0.8], [0.48, 0.6, 0.64]]).double()
    parts = []
    for k, waveform in enumerate([Pgse(), DoublePgse(1.5), CosineOgse(2), SineOgse(1), Trapezoid(0.8)]):
        part = Acquisition.encode(
            waveform, [300.0, 900.0], (-1) ** k * directions, small_delta=4.0, big_delta=9.0
        )
        later = part.echo_time + echo
        parts.append(
            Acquisition(
                part.gradients, part.small_delta, part.big_delta, later, part.waveforms, part.waveform_of
            )
        )
    whole = Acquisition.concatenate(parts)
    if gradients is None:
        return whole
    return Acquisition(
        gradients, whole.small_delta, whole.big_delta, whole.echo_time, whole.waveforms, whole.waveform_of
    )


def by_matrix_exponentials(model, acquisition, steps=4000):
    """Midpoint rule in time, a matrix exponential each step; second order."""
    rates, moments, start = (t.to(torch.complex128) for t in model)
    signals = []
    for n in range(acquisition.n_measurements):
        waveform = acquisition.waveforms[int(acquisition.waveform_of[n])]
        delta, Delta = acquisition.small_delta[n], acquisition.big_delta[n]
        lead = (acquisition.echo_time[n] - waveform.duration(delta, Delta)) / 2
        qA = torch.einsum("c,cij->ij", acquisition.wave_vectors[n].to(moments.dtype), moments)
        edges = torch.linspace(0, float(acquisition.echo_time[n]), steps + 1, dtype=torch.float64)
        F = sum(
            sign
            * waveform.running_integral(
                (edges - lead - begin).clamp(torch.zeros(()).double(), waveform.pulse_duration(delta)),
                float(delta),
            )
            for begin, sign in waveform.pulses(delta, Delta)
        )
        h = float(edges[1])
        factors = torch.linalg.matrix_exp(-h * rates - 1j * F.diff()[:, None, None] * qA)
        state = start
        for factor in factors:
            state = factor @ state
        signals.append((start * state).sum())
    return torch.stack(signals)


@pytest.mark.parametrize("repeats", [True, False])
def test_every_waveform_against_matrix_exponentials(repeats):
    model = random_model(10, repeats=repeats)
    acquisition = mixed()
    ours = one_axis_signal(model, acquisition)
    volume = float(model.magnetisation.square().sum())
    # the reference's steps of 7 µs: 1e-6; ours 3e-5
    assert float((ours - by_matrix_exponentials(model, acquisition)).abs().max()) < 3e-5 * volume


def test_pulsed_gradients_are_those_of_the_pgse_identity():
    model, acquisition = random_model(14, repeats=False), few_measurements()
    here = one_axis_signal(model, acquisition)
    there = pgse_signal(model, acquisition.wave_vectors, acquisition.small_delta, acquisition.big_delta)
    volume = float(model.magnetisation.square().sum())
    assert float((here - there).abs().max()) < 3e-5 * volume
    assert float(here.imag.abs().max()) < 1e-5 * volume


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("gradients_too", [True, False])
def test_derivatives_of_the_reduced_model_and_the_gradients(repeats, gradients_too):
    """Against differences of the same steps; all symmetric directions, also between equal positions."""
    model = random_model(8, repeats=repeats)
    acquisition = mixed()
    generator = torch.Generator().manual_seed(3)
    weights = torch.randn(2, acquisition.n_measurements, generator=generator, dtype=torch.float64)
    tangent = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in model]
    tangent[1] = tangent[1] + tangent[1].mT
    # rates stay diagonal, which they must be
    tangent[0] = torch.diag(tangent[0].diagonal().abs())
    turn = torch.randn(acquisition.gradients.shape, generator=generator, dtype=torch.float64)
    turn = turn * 5 * gradients_too

    def loss(step):
        moved = ReducedModel(*(t + step * d for t, d in zip(model, tangent, strict=True)))
        signal = one_axis_signal(moved, mixed(acquisition.gradients + step * turn))
        return (weights[0] * signal.real + weights[1] * signal.imag).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (ours,) = torch.autograd.grad(loss(step), step)
    h = 1e-3
    with torch.no_grad():
        values = [float(loss(k * h)) for k in (-2, -1, 1, 2)]
    assert float(ours) == pytest.approx(
        (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h), rel=1e-6
    )


def test_vertices_of_a_permeable_mesh():
    """Exact mode against differences, for a mixture of waveforms and relaxation that differs."""
    from test_compartments import halves

    mesh, acquisition = halves(), mixed()
    tissue = Tissue(diffusivity=[1.0, 2.0], T2=[50.0, 80.0], permeability={(0, 1): 0.3})
    solver = MatrixFormalism(modes=24, exact_gradient=True)
    generator = torch.Generator().manual_seed(1)
    u = 0.05 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(acquisition.n_measurements, generator=generator, dtype=torch.float64)

    def loss(vertices):
        with coarse_on_purpose():
            signal = simulate(mesh.with_vertices(vertices), tissue, acquisition, solver=solver)
        return (weights * signal.real + weights.flip(0) * signal.imag).sum()

    leaf = (mesh.vertices + 2 * u).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    h = 1e-3
    with torch.no_grad():
        values = [float(loss(leaf + k * h * u)) for k in (-2, -1, 1, 2)]
    difference = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
    assert float((gradient * u).sum()) == pytest.approx(difference, rel=1e-6)

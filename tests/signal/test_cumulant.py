"""The weights of the second cumulant: closed forms, ordinary differential equations, matrix functions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from torrey.acquisition import CosineOgse, DoublePgse, FreeWaveform, Pgse, SineOgse, Trapezoid, pulse_train
from torrey.signal.cumulant import second_cumulant, time_weights
from torrey.signal.timing import PulseTiming

RATES = torch.tensor([0.0, 1e-6, 1e-3, 0.02, 0.3, 0.3, 4.0, 60.0, 2000.0]).double()


def test_pulsed_gradients_are_those_of_murday_and_cotts():
    delta, Delta = 4.0, 9.0
    # J. Chem. Phys. 48, 4938 (1968); below 1e-2 the closed form loses digits to subtraction
    rates = RATES[3:].numpy()
    exact = rates * delta - 1 + np.exp(-rates * delta)
    exact += (
        np.exp(-rates * Delta) - (np.exp(-rates * (Delta - delta)) + np.exp(-rates * (Delta + delta))) / 2
    )
    ours = time_weights(PulseTiming(Pgse(), delta, Delta, 15.0), RATES)
    np.testing.assert_allclose(ours[3:].numpy(), 2 * exact / rates**2, rtol=1e-11)
    assert float(ours[0]) == 0
    # slow decays leave λ∫F²dt
    assert float(ours[1]) == pytest.approx(1e-6 * delta**2 * (Delta - delta / 3), rel=1e-5)


def test_gradients_that_turn_are_the_double_integral():
    """½∬ f_a f_b e^{−λ|t−t'|} in closed form over every pair of cells."""
    h, K = 1.5, 7
    f = np.random.default_rng(0).normal(size=(K, 3))
    f -= f.mean(0)
    ours = time_weights(FreeWaveform(f, h), RATES).numpy()
    rates = RATES[3:, None, None].numpy()
    apart = np.abs(np.arange(K)[:, None] - np.arange(K))
    near = 2 * (rates * h - 1 + np.exp(-rates * h))
    # 2 cosh λh − 2, with the decay to the nearer ends in it
    far = np.exp(-rates * h * (apart - 1).clip(0)) * (1 + np.exp(-2 * rates * h) - 2 * np.exp(-rates * h))
    kernel = np.where(apart == 0, near, far) / rates**2
    exact = np.einsum("ka,nkl,lb->abn", f, kernel, f) / 2
    # the closed form loses digits to subtraction where λh is 0.03
    np.testing.assert_allclose(ours[..., 3:], exact, rtol=0, atol=1e-10)
    assert float(np.abs(ours[..., 0]).max()) < 1e-25


def test_pulses_on_a_raster_are_pulses():
    direction = torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    ours = time_weights(pulse_train([direction.tolist()], small_delta=4.0, big_delta=9.0), RATES)
    one = time_weights(PulseTiming(Pgse(), 4.0, 9.0, 15.0), RATES)
    exact = torch.einsum("a,b,n->abn", direction, direction, one)
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-20)


SHAPES = {
    "cosine": (CosineOgse(2), 13.0, lambda t: (t < 4) * np.cos(np.pi * t)),
    "sine": (SineOgse(1), 13.0, lambda t: (t < 4) * np.sin(np.pi * t / 2)),
    "trapezoid": (Trapezoid(0.8), 13.8, lambda t: np.interp(t, [0, 0.8, 4, 4.8], [0, 1, 1, 0])),
    "double": (DoublePgse(1.5), 27.5, lambda t: 1.0 * (t < 4)),
}
STARTS = {"double": [(0.0, 1), (9.0, -1), (14.5, 1), (23.5, -1)]}


@pytest.mark.parametrize("name", SHAPES)
def test_other_waveforms_against_a_differential_equation(name):
    waveform, echo, pulse = SHAPES[name]
    starts = STARTS.get(name, [(0.0, 1), (9.0, -1)])
    rates = RATES[:-1].numpy()
    # z' = −λz + f and G' = fz, from one corner of f to the next
    state, n = np.zeros(2 * len(rates)), len(rates)
    length = 4.8 if name == "trapezoid" else 4.0
    corners = [0.8, 4.0] if name == "trapezoid" else []
    edges = sorted({0.0, echo, *(s + c for s, _ in starts for c in (0.0, *corners, length))})
    for start, end in pairwise(edges):
        middle = (start + end) / 2
        on = [(s, sign) for s, sign in starts if s < middle < s + length]

        def slope(t, y, on=on):
            # within a piece the argument of a pulse stays below its end
            f = sum(sign * pulse(min(t - s, length - 1e-12)) for s, sign in on)
            return np.concatenate([-rates * y[:n] + f, f * y[:n]])

        state = solve_ivp(slope, (start, end), state, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]
    exact = state[n:]
    ours = time_weights(PulseTiming(waveform, 4.0, 9.0, echo + 2.0), RATES[:-1]).numpy()
    # the tolerance of the steps, 1e-9 of λ∫F²dt, and of the reference
    bound = rates * float(waveform.weighting(torch.tensor(4.0), torch.tensor(9.0)))
    assert np.all(np.abs(ours - exact) < 2e-9 * bound + 1e-9)


@pytest.mark.parametrize("waveform", [Pgse(), SineOgse(1)])
def test_derivative_is_that_of_a_matrix_function(waveform):
    """In every entry of Λ, also between equal rates and from zero: against G in another eigenbasis."""
    timing = PulseTiming(waveform, 4.0, 9.0, 15.0)
    generator = torch.Generator().manual_seed(0)
    rates = torch.diag(RATES[2:-1]).requires_grad_()
    n = len(rates)
    change, weights = torch.randn(2, n, n, generator=generator, dtype=torch.float64)
    change = change + change.T
    (ours,) = torch.autograd.grad((weights * second_cumulant(timing, rates)).sum(), rates)

    def moved(step):
        values, vectors = torch.linalg.eigh(rates.detach() + step * change)
        G = vectors @ torch.diag(time_weights(timing, values)) @ vectors.T
        return float((weights * G).sum())

    # rates stay positive
    h = 1e-5
    difference = (moved(-2 * h) - 8 * moved(-h) + 8 * moved(h) - moved(2 * h)) / (12 * h)
    assert float((ours * change).sum()) == pytest.approx(difference, rel=1e-7)

import math

import pytest
import torch

from torrey import units


def test_gyromagnetic_ratio_is_the_protons():
    # CODATA 2018: 2.6752218744e8 rad/(s T); 1e3 ms/s, 1e3 mT/T, 1e6 µm/m.
    assert pytest.approx(2.6752218744e8 / (1e3 * 1e3 * 1e6), rel=1e-12) == units.GYROMAGNETIC_RATIO


def test_bval_of_an_amplitude_in_si_units():
    # b = γ² G² δ² (Δ − δ/3) in s/m², then 1e-6 for s/mm².
    gamma, G, delta, Delta = 2.6752218744e8, 0.08, 0.0129, 0.0218
    expected = (gamma * G * delta) ** 2 * (Delta - delta / 3) * 1e-6
    gradient, delta, Delta = torch.tensor([80.0, 12.9, 21.8], dtype=torch.float64)
    b = units.bval_from_gradient(gradient, units.pgse_diffusion_weighting(delta, Delta))
    assert float(b) == pytest.approx(expected, rel=1e-12)


def test_diffusion_weighting_is_the_integral_of_the_squared_gradient_integral():
    # The integral F of the effective gradient: a ramp, a plateau of height δ, a ramp down.
    delta, Delta = 3.0, 17.0
    t = torch.linspace(0, delta + Delta, 200_001, dtype=torch.float64)
    F = t.clamp(max=delta) - (t - Delta).clamp(min=0)
    expected = torch.trapezoid(F**2, t)
    actual = units.pgse_diffusion_weighting(torch.tensor(delta), torch.tensor(Delta))
    # The trapezoid rule is exact to (step/δ)² = 1e-9.
    assert float(actual) == pytest.approx(float(expected), rel=1e-6)


def test_amplitude_and_bval_undo_each_other():
    bvals = torch.tensor([0.0, 1e-3, 1000.0, 1e5], dtype=torch.float64)
    delta, Delta = torch.tensor(5.0).double(), torch.tensor(25.0).double()
    weighting = units.pgse_diffusion_weighting(delta, Delta)
    gradient = units.gradient_from_bval(bvals, weighting)
    torch.testing.assert_close(units.bval_from_gradient(gradient, weighting), bvals, rtol=1e-14, atol=0)


def test_no_nan_in_the_derivative_at_zero():
    bvals = torch.tensor([0.0, 1000.0], dtype=torch.float64, requires_grad=True)
    units.gradient_from_bval(bvals, torch.tensor(600.0)).sum().backward()
    assert bvals.grad[0] == 0
    assert math.isfinite(bvals.grad[1])
    assert bvals.grad[1] > 0

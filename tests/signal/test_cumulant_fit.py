"""Fitted diffusion coefficients and kurtoses: signals of known cumulants, and the coefficient at b = 0."""

import pytest
import torch
from signal_cases import coarse_on_purpose, spindoctor_mesh
from test_apparent_diffusion import check_gradient

from torrey.acquisition import Acquisition, CosineOgse, electrostatic_directions
from torrey.errors import InputError
from torrey.signal import Tissue, apparent_diffusion, fit_cumulants, simulate

DIRECTIONS = electrostatic_directions(4)
BVALS = [0.0, 500.0, 1000.0, 1500.0, 2000.0, 8000.0]


def protocol():
    return Acquisition.shells_of(BVALS, DIRECTIONS, small_delta=5.0, big_delta=[10.0, 25.0])


def made_up(acquisition):
    """D and K (N,) of each direction and Δ, and S = 7 exp(−bD + b²D²K/6) up to b = 2 000."""
    D = 0.5 + acquisition.bvecs[:, 0] ** 2 + 0.01 * acquisition.big_delta
    K = 0.8 - 0.5 * acquisition.bvecs[:, 2] ** 2
    b = acquisition.bvals / 1000
    # noise beyond
    signal = torch.where(b < 3, 7 * torch.exp(-b * D + b**2 * D**2 * K / 6), torch.tensor(0.0).double())
    return D, K, signal


def test_known_cumulants_are_found():
    acquisition = protocol()
    D, K, signal = made_up(acquisition)
    fit = fit_cumulants(signal, acquisition, largest_bval=2000)
    assert len(fit.rows) == 8
    torch.testing.assert_close(fit.adc, D[fit.rows], rtol=1e-10, atol=0)
    torch.testing.assert_close(fit.kurtosis, K[fit.rows], rtol=1e-9, atol=0)
    torch.testing.assert_close(fit.unweighted, torch.full((8,), 7.0).double())


def test_complex_signals_opposite_directions_and_other_timings():
    """Each waveform and echo time is a set of its own; a direction and its opposite are one."""
    acquisition = protocol().subset(protocol().bvals < 3000)
    flipped = Acquisition(
        acquisition.gradients * torch.where(acquisition.bvals > 1200, -1.0, 1.0)[:, None],
        acquisition.small_delta,
        acquisition.big_delta,
        acquisition.echo_time,
    )
    late = Acquisition(
        acquisition.gradients, acquisition.small_delta, acquisition.big_delta, acquisition.echo_time + 5
    )
    n = len(DIRECTIONS)
    cosine = Acquisition.encode(
        CosineOgse(1),
        torch.tensor([100.0, 300.0, 500.0]).repeat_interleave(n),
        DIRECTIONS.repeat(3, 1),
        small_delta=5.0,
        big_delta=10.0,
    )
    D, K, signal = made_up(flipped)
    other = (2 * signal, 7 * torch.exp(-1.5 * cosine.bvals / 1000))
    phase = torch.polar(torch.ones(1).double(), torch.tensor([0.7]).double())
    whole = Acquisition.concatenate([flipped, late, cosine])
    fit = fit_cumulants(phase * torch.cat([signal, *other]), whole, largest_bval=2000)
    assert len(fit.rows) == 5 * n
    own = whole.subset(fit.rows)
    for k in range(len(fit.rows)):
        if own.waveform_of[k]:
            expected = (1.5, 0.0, 7.0)
        else:
            row = int(fit.rows[k]) % len(signal)
            expected = (float(D[row]), float(K[row]), 14.0 if fit.rows[k] >= len(signal) else 7.0)
        found = (float(fit.adc[k]), float(fit.kurtosis[k]), float(fit.unweighted[k]))
        assert found == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_fit_of_simulated_signals_approaches_the_coefficient_at_zero():
    mesh, tissue = spindoctor_mesh("bent_twisted"), Tissue(diffusivity=2.0)
    acquisition = Acquisition.shells_of(
        [0.0, 100.0, 200.0, 300.0, 400.0], DIRECTIONS, small_delta=5.0, big_delta=[10.0]
    )
    with coarse_on_purpose():
        signal = simulate(mesh, tissue, acquisition)
    fit = fit_cumulants(signal, acquisition, largest_bval=400, degree=3)
    exact = apparent_diffusion(mesh, tissue, acquisition.subset(fit.rows))
    # the fourth order, and an error of the signal of 1e-5 over b = 0.4
    torch.testing.assert_close(fit.adc, exact, rtol=0, atol=3e-4)
    line = fit_cumulants(signal, acquisition, largest_bval=400, degree=1)
    assert float((line.adc - exact).abs().max()) > 1e-3


def test_gradient():
    acquisition = protocol()
    _, _, signal = made_up(acquisition)
    generator = torch.Generator().manual_seed(0)
    change = torch.randn(len(signal), generator=generator, dtype=torch.float64)

    def total(s):
        fit = fit_cumulants(s, acquisition, largest_bval=2000)
        return (fit.adc + fit.kurtosis + fit.unweighted).sum()

    check_gradient(total, signal.requires_grad_(), change)


def test_too_little_is_refused():
    acquisition = protocol()
    signal = made_up(acquisition)[2]
    with pytest.raises(
        InputError, match="2 b-values in range in the direction of row 6, expected at least 3"
    ):
        fit_cumulants(signal, acquisition, largest_bval=600)
    with pytest.raises(InputError, match=r"signal: row 20 is 0\.0, expected finite and not zero"):
        fit_cumulants(signal, acquisition, largest_bval=9000)
    with pytest.raises(InputError, match=r"signal: expected \(48,\)"):
        fit_cumulants(signal[:-1], acquisition, largest_bval=2000)
    with pytest.raises(InputError, match="degree is 0, expected at least 1"):
        fit_cumulants(signal, acquisition, largest_bval=2000, degree=0)
    with pytest.raises(InputError, match="no measurement has a gradient"):
        fit_cumulants(signal[:4], acquisition.subset(slice(0, 4)), largest_bval=2000)
    with pytest.raises(InputError, match="the fit is of degree 1, expected at least 2"):
        _ = fit_cumulants(signal, acquisition, largest_bval=2000, degree=1).kurtosis

import math

import pytest
import torch
from scipy.special import ive

from torrey.errors import InputError
from torrey.signal.noise import gaussian_noise, rician_noise

N = 200_000
SIX_ERRORS = 6 / math.sqrt(N)
"""Six standard errors of a mean of N samples of unit variance: passed by chance once in 5e8."""


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def test_gaussian_moments(generator):
    noisy = gaussian_noise(torch.full((N,), 0.7).double(), sigma=0.2, generator=generator)
    z = (noisy - 0.7) / 0.2
    assert abs(float(z.mean())) < SIX_ERRORS
    assert abs(float((z**2).mean()) - 1) < SIX_ERRORS * math.sqrt(2)
    assert abs(float((z**4).mean()) - 3) < SIX_ERRORS * math.sqrt(96)


def test_complex_channels_are_independent_and_each_has_sigma(generator):
    signal = torch.full((N,), 0.7 - 0.1j, dtype=torch.complex128)
    z = (gaussian_noise(signal, sigma=0.2, generator=generator) - signal) / 0.2
    for channel in (z.real, z.imag):
        assert abs(float(channel.mean())) < SIX_ERRORS
        assert abs(float((channel**2).mean()) - 1) < SIX_ERRORS * math.sqrt(2)
    assert abs(float((z.real * z.imag).mean())) < SIX_ERRORS


@pytest.mark.parametrize("amplitude", [0.0, 0.1, 0.3, 2.0])
def test_rician_moments(generator, amplitude):
    sigma = 0.2
    noisy = rician_noise(torch.full((N,), amplitude).double(), sigma=sigma, generator=generator)
    assert (noisy >= 0).all()
    second = amplitude**2 + 2 * sigma**2
    variance_of_square = 4 * sigma**4 + 4 * sigma**2 * amplitude**2
    assert abs(float((noisy**2).mean()) - second) < SIX_ERRORS * math.sqrt(variance_of_square)
    # Mean σ√(π/2) L_½(−A²/2σ²), the Laguerre function by Bessel functions; ive carries the factor exp(−x).
    x = amplitude**2 / (4 * sigma**2)
    mean = sigma * math.sqrt(math.pi / 2) * ((1 + 2 * x) * ive(0, x) + 2 * x * ive(1, x))
    assert abs(float(noisy.mean()) - mean) < SIX_ERRORS * math.sqrt(second - mean**2)


def test_rician_depends_on_the_magnitude_only(generator):
    real = rician_noise(torch.full((N,), 0.5).double(), sigma=0.2, generator=generator)
    turned = rician_noise(torch.full((N,), 0.3 + 0.4j).to(torch.complex128), sigma=0.2, generator=generator)
    assert abs(float(real.mean() - turned.mean())) < SIX_ERRORS * 0.2 * math.sqrt(2)


@pytest.mark.parametrize("noise", [gaussian_noise, rician_noise])
def test_same_generator_same_noise_and_no_noise_no_change(noise):
    signal = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = noise(signal, sigma=0.1, generator=torch.Generator().manual_seed(1))
    b = noise(signal, sigma=0.1, generator=torch.Generator().manual_seed(1))
    assert torch.equal(a, b)
    assert not torch.equal(a, signal)
    torch.testing.assert_close(noise(signal, sigma=0.0, generator=torch.Generator()), signal)


@pytest.mark.parametrize("noise", [gaussian_noise, rician_noise])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex128])
def test_gradients_flow_and_precision_stays(noise, dtype):
    signal = torch.ones(3, dtype=dtype, requires_grad=True)
    noisy = noise(signal, sigma=0.1, generator=torch.Generator().manual_seed(1))
    assert noisy.real.dtype == signal.real.dtype
    noisy.abs().sum().backward()
    assert (signal.grad.abs() > 0.5).all()


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("noise", [gaussian_noise, rician_noise])
def test_bad_sigma_is_refused(noise, sigma):
    with pytest.raises(InputError, match="sigma"):
        noise(torch.ones(2), sigma=sigma, generator=torch.Generator())

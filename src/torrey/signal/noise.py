"""Noise of a receiver. `sigma` is the standard deviation of each channel, in the units of the signal.

For an SNR at b = 0, sigma = S(0)/SNR; for attenuations, 1/SNR.
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ..errors import InputError


def gaussian_noise(signal: Tensor, *, sigma: float, generator: Generator) -> Tensor:
    """Return `signal` with independent Gaussian noise of standard deviation `sigma`.

    Parameters
    ----------
    signal : (...) Tensor, real or complex
        Derivatives flow through it. A complex signal gets noise of `sigma` in each of its two channels.
    sigma : float
        ≥ 0, in the units of the signal.
    generator : torch.Generator
        On the device of the signal.

    Returns
    -------
    (...) Tensor
        With mean `signal`; E|result − signal|² is sigma² for a real and 2 sigma² for a complex signal.
    """
    _check_sigma(sigma)
    if signal.is_complex():
        return (
            signal + torch.complex(_normal(signal.real, generator), _normal(signal.real, generator)) * sigma
        )
    return signal + _normal(signal, generator) * sigma


def rician_noise(signal: Tensor, *, sigma: float, generator: Generator) -> Tensor:
    """Return the magnitude |S + n| of `signal` with Gaussian noise n of `sigma` in both channels.

    Parameters
    ----------
    signal : (...) Tensor, real or complex
        A real signal is taken as the real channel.
    sigma : float
        ≥ 0, in the units of the signal.
    generator : torch.Generator
        On the device of the signal.

    Returns
    -------
    (...) Tensor, real
        Rice-distributed: its second moment is |S|² + 2 sigma², and where S = 0 its mean is sigma √(π/2).

    References
    ----------
    Gudbjartsson and Patz, Magn. Reson. Med. 34, 910 (1995).
    """
    complex_signal = signal if signal.is_complex() else torch.complex(signal, torch.zeros_like(signal))
    return gaussian_noise(complex_signal, sigma=sigma, generator=generator).abs()


def _normal(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma >= 0):
        raise InputError(f"sigma: expected finite and ≥ 0, got {sigma:g}")

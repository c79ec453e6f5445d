"""The only place where units are converted.

Inside Torrey lengths are µm and times are ms. b-values arrive and leave in s/mm², gradients in mT/m.

    q = γ g                 (rad / (µm ms))
    b = q² δ² (Δ − δ/3)      (ms/µm²; 1 ms/µm² = 1000 s/mm²)

Stejskal and Tanner, J. Chem. Phys. 42, 288 (1965).
"""

import math

from torch import Tensor

GYROMAGNETIC_RATIO = 2.6752218744e-4
"""γ of the proton, rad / (ms · mT/m · µm)."""

S_PER_MM2 = 1000.0
"""s/mm² in one ms/µm²."""

MILLI = 1000.0
"""ms in one s, and mT/m in one T/m: Camino's scheme files are in SI units."""


def pgse_diffusion_weighting(small_delta: Tensor, big_delta: Tensor) -> Tensor:
    """Return ∫F²dt = δ²(Δ − δ/3) in ms³, so that b = q²∫F²dt, for `small_delta` δ and `big_delta` Δ in ms."""
    return small_delta**2 * (big_delta - small_delta / 3)


def gradient_from_bval(bvals: Tensor, weighting: Tensor) -> Tensor:
    """Return the amplitude (mT/m) that gives `bvals` (s/mm²) where ∫F²dt is `weighting` (ms³).

    Its derivative at b = 0 is zero.
    """
    positive = bvals > 0
    safe = bvals.where(positive, bvals.new_ones(()))
    q = (safe / S_PER_MM2 / weighting).sqrt()
    return (q / GYROMAGNETIC_RATIO).where(positive, bvals.new_zeros(()))


def bval_from_gradient(gradient: Tensor, weighting: Tensor) -> Tensor:
    """Return the b-value (s/mm²) of an amplitude `gradient` (mT/m) where ∫F²dt is `weighting` (ms³)."""
    q = GYROMAGNETIC_RATIO * gradient
    return S_PER_MM2 * q**2 * weighting


def wave_vectors(gradients: Tensor) -> Tensor:
    """Return q = γg in rad/(µm ms) for `gradients` in mT/m, any shape."""
    return GYROMAGNETIC_RATIO * gradients


def gradient_from_hertz_per_metre(gradient: Tensor) -> Tensor:
    """Return a gradient in mT/m for one in Hz/m, as Pulseq gives γG/2π."""
    return 2 * math.pi * 1e-9 * gradient / GYROMAGNETIC_RATIO

"""Real spherical harmonics of even degree, in the basis and order that MRtrix writes (`tournier07`).

Coefficient l(l+1)/2 + m holds Y_lm, orthonormal on the sphere: √2 P_lm cos mφ for m > 0, √2 P_l|m| sin |m|φ
for m < 0, with the Condon–Shortley phase (−1)^m in P (Tournier et al., NeuroImage 2007). Directions are in
world axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError


def n_coefficients(degree: int) -> int:
    """Return the number of even harmonics up to `degree`."""
    if degree < 0 or degree % 2:
        raise InputError(f"degree is {degree}; expected an even number from 0")
    return (degree + 1) * (degree + 2) // 2


def degree_of(n_coefficients: int) -> int:
    """Return the even degree whose series has `n_coefficients` (1, 6, 15, 28, 45, …).

    Raises
    ------
    InputError
        When no even degree has that many.
    """
    degree = (math.isqrt(8 * max(n_coefficients, 0) + 1) - 3) // 2
    if n_coefficients < 1 or degree % 2 or (degree + 1) * (degree + 2) // 2 != n_coefficients:
        raise InputError(
            f"{n_coefficients} spherical-harmonic coefficients; expected 1, 6, 15, 28, 45, … (even degrees)"
        )
    return degree


def harmonics(directions: Tensor, degree: int) -> Tensor:
    """Return Y_lm (..., n_coefficients(degree)) at `directions` (..., 3), unit vectors.

    Polynomials in the components, so it is smooth and differentiable at the poles too: P_lm = sin^m θ times a
    polynomial in cos θ, and sin^m θ e^{imφ} = (x + iy)^m.
    """
    n = n_coefficients(degree)
    x, y, z = directions.unbind(-1)
    columns: list[Tensor | None] = [None] * n
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)
    diagonal = math.sqrt(1 / (4 * math.pi))
    for m in range(degree + 1):
        if m:
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
            diagonal *= -math.sqrt((2 * m + 1) / (2 * m))
        below, legendre = torch.zeros_like(z), torch.full_like(z, diagonal)
        for l in range(m, degree + 1):
            if l > m:
                up = math.sqrt((4 * l * l - 1) / (l * l - m * m))
                down = math.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1)) if l > m + 1 else 0.0
                below, legendre = legendre, up * (z * legendre - down * below)
            if l % 2 == 0:
                centre = l * (l + 1) // 2
                columns[centre + m] = legendre * cosine * (math.sqrt(2) if m else 1.0)
                if m:
                    columns[centre - m] = legendre * sine * math.sqrt(2)
    return torch.stack([column for column in columns if column is not None], -1)

"""Even functions on the sphere as homogeneous polynomials, with as many coefficients as harmonics.

On |x| = 1 every even harmonic of degree l ≤ L is a homogeneous polynomial of degree L, multiplied by a power
of |x|² where l < L. Monomials x^a y^b z^c, a + b + c = L, are ordered by falling a, then falling b.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .harmonics import harmonics, n_coefficients

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Order of the second derivatives: xx, yy, zz, xy, xz, yz."""


def exponents(degree: int) -> list[tuple[int, int, int]]:
    """Return the exponents (a, b, c) of the monomials of one degree, in their order."""
    return [(a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)]


@lru_cache
def harmonics_to_monomials(degree: int) -> Tensor:
    """Return the matrix (N, N) that takes harmonics' coefficients (a row vector) to monomials'. float64."""
    n = n_coefficients(degree)
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(8 * n, 3, dtype=torch.float64, generator=generator)
    points = points / points.norm(dim=1, keepdim=True)
    # both sides are exact on the sphere, so least squares at many points finds the one solution
    solved: Tensor = torch.linalg.lstsq(monomials(points, degree), harmonics(points, degree)).solution
    return solved.T.contiguous()


def from_harmonics(coefficients: Tensor, degree: int) -> Tensor:
    """Return the monomials' coefficients (..., N) of a series of harmonics (..., N)."""
    return coefficients @ harmonics_to_monomials(degree).to(coefficients)


def monomials(x: Tensor, degree: int) -> Tensor:
    """Return the monomials (n, N) of one degree at `x` (n, 3)."""
    rows = [x.new_ones(len(x), 1)]
    for _ in range(degree):
        last = rows[-1]
        # those with a factor x, then those with a factor y but none x, then the power of z
        without_x = last.shape[1] - _n_without_x(len(rows) - 1)
        rows.append(torch.cat([last * x[:, :1], last[:, without_x:] * x[:, 1:2], last[:, -1:] * x[:, 2:]], 1))
    return rows[-1]


def _n_without_x(degree: int) -> int:
    return degree + 1


@lru_cache
def _second_table(degree: int) -> tuple[Tensor, Tensor]:
    place = {monomial: i for i, monomial in enumerate(exponents(degree))}
    sources, factors = [], []
    for i, j in PAIRS:
        for low in exponents(degree - 2):
            high = list(low)
            high[i] += 1
            high[j] += 1
            sources.append(place[(high[0], high[1], high[2])])
            factors.append(high[i] * (high[j] - 1) if i == j else high[i] * high[j])
    return torch.tensor(sources), torch.tensor(factors, dtype=torch.float64)


def second_derivatives(coefficients: Tensor, degree: int) -> Tensor:
    """Return the coefficients (n, 6, M) of xx, yy, zz, xy, xz, yz derivatives in monomials of degree − 2."""
    sources, factors = _second_table(degree)
    chosen = coefficients[:, sources.to(coefficients.device)] * factors.to(coefficients)
    return chosen.view(len(coefficients), 6, -1)


@lru_cache
def _first_table(degree: int) -> tuple[Tensor, Tensor]:
    place = {monomial: i for i, monomial in enumerate(exponents(degree - 1))}
    sources, factors = [], []
    for i in range(3):
        for high in exponents(degree):
            low = list(high)
            low[i] -= 1
            sources.append(place[(low[0], low[1], low[2])] if high[i] else 0)
            factors.append(high[i])
    return torch.tensor(sources), torch.tensor(factors, dtype=torch.float64)


def first_derivatives(x: Tensor, degree: int) -> Tensor:
    """Return the derivatives (n, 3, N) of every monomial of `degree` at `x` (n, 3)."""
    sources, factors = _first_table(degree)
    values = monomials(x, degree - 1)[:, sources.to(x.device)] * factors.to(x)
    return values.view(len(x), 3, -1)

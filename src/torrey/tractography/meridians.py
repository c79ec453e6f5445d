"""Even functions on the sphere in elevation θ and azimuth φ, as MRtrix evaluates them.

On a meridian a homogeneous polynomial of degree L is Σ_k a_k(φ) sin^k θ cos^(L−k) θ, k = 0 … L, where a_k(φ)
holds its terms with the factor z^(L−k). MRtrix takes functions of θ, and their derivatives, from a table of
elevations, between which it interpolates linearly: that makes ascents end elsewhere, by some 1e-5 rad, and
sooner or later.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from .polynomial import exponents

ELEVATIONS = 512
"""Entries of MRtrix's table, from 0 to π."""

AROUND = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2))
"""Order of the derivatives in (θ, φ): none, θ, θθ, φ, θφ, φφ."""


@lru_cache
def elevation_table(degree: int, n_elevations: int) -> Tensor:
    """Return sin^k θ cos^(L−k) θ and two derivatives (n, 3, L + 1) at as many θ from 0 to π. float64."""
    theta = torch.linspace(0, math.pi, n_elevations, dtype=torch.float64)[:, None]
    sine, cosine = theta.sin(), theta.cos()
    k = torch.arange(degree + 1)

    def term(factor: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return factor * sine ** i.clamp(min=0) * cosine ** j.clamp(min=0)

    j = degree - k
    return torch.stack(
        [
            term(torch.ones(1), k, j),
            term(k, k - 1, j + 1) - term(j, k + 1, j - 1),
            term(k * (k - 1), k - 2, j + 2) - term(2 * k * j + k + j, k, j) + term(j * (j - 1), k + 2, j - 2),
        ],
        1,
    )


def around(polynomials: Tensor, x: Tensor, degree: int, table: Tensor) -> Tensor:
    """Return P, P_θ, P_θθ, P_φ, P_θφ, P_φφ (n, 6) of `polynomials` (n, N) at unit vectors `x` (n, 3)."""
    radius = torch.hypot(x[:, 0], x[:, 1])
    pole = radius == 0
    cosine = torch.where(pole, 1.0, x[:, 0] / radius)
    sine = torch.where(pole, 0.0, x[:, 1] / radius)
    last = len(table) - 1
    at = torch.atan2(radius, x[:, 2]) * (last / math.pi)
    row = at.long().clamp(max=last - 1)
    share = (at - row)[:, None, None]
    meridian = (1 - share) * table[row] + share * table[row + 1]
    a, b, _ = torch.tensor(exponents(degree), device=x.device).T
    power, turns = a + b, _turns(degree).to(x)
    monomials = cosine[:, None] ** a * sine[:, None] ** b
    parallels = []
    for _ in range(3):
        parallels.append(torch.zeros_like(meridian[:, 0]).index_add(1, power, polynomials * monomials))
        monomials = monomials @ turns
    return torch.stack([(meridian[:, i] * parallels[j]).sum(1) for i, j in AROUND], 1)


@lru_cache
def _turns(degree: int) -> Tensor:
    """Return the matrix (N, N) that takes cos^a φ sin^b φ (a row vector) to their derivatives in φ."""
    place = {(a, b): row for row, (a, b, _) in enumerate(exponents(degree))}
    turns = torch.zeros(len(place), len(place), dtype=torch.float64)
    for (a, b), row in place.items():
        if a:
            turns[place[a - 1, b + 1], row] -= a
        if b:
            turns[place[a + 1, b - 1], row] += b
    return turns

"""Laplace eigenmodes of the interval, the disc and the ball of size 1, and the matrix of x between them.

Reflecting walls: eigenfunctions uₖ with ∂u/∂n = 0, orthonormal with respect to the uniform density, and

    Λ = diag(λₖ),   B = ⟨uₖ, x uₗ⟩,

with only the modes that x connects to the constant one (k = 0). With the zeros α of the derivative of the
Bessel function of order n, λ = α² and, for orders n and n' that differ by one,

    disc   B = c (λ + λ' − 2nn') / (λ − λ')² · ββ',   β² = λ/(λ − n²),  c = √2 where n or n' is 0, else 1
    ball   B = (n + n' + 1)/2 · (λ + λ' − n(n'+1) − n'(n+1) + 1) / (λ − λ')² · ββ',
           β² = 2/(2n + 1) · λ/(λ − n(n+1)), and 3 at λ = 0.

Grebenkov, Rev. Mod. Phys. 79, 1077 (2007), table II and appendix D.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import jvp, spherical_jn

Array = NDArray[np.float64]

MOST_MODES = 1500
"""A larger basis is not made: its exponential takes minutes."""

_GRID = 0.25
"""Zeros of one order lie more than 2.5 apart, so a grid of this step separates them."""


class Modes(NamedTuple):
    """Eigenvalues `rates` (n,), 0 first, and `position` (n, n), the matrix of x, for a domain of size 1."""

    rates: Array
    position: Array


@lru_cache(maxsize=64)
def interval_modes(cutoff: float, highest_order: int) -> Modes | None:
    """Return the modes of [−½, ½] with √λ ≤ `cutoff`, or None if there are too many.

    An interval has no angular order to limit.
    """
    if cutoff > np.pi * MOST_MODES:
        return None
    k = np.arange(int(cutoff / np.pi) + 1)
    scale = np.where(k == 0, 1.0, np.sqrt(2.0))
    odd = (k[:, None] + k) % 2 == 1
    gap = np.where(odd, k[:, None] ** 2 - k**2, 1).astype(float)
    position = np.where(odd, -2 * (k[:, None] ** 2 + k**2) / (np.pi * gap) ** 2, 0.0) * np.outer(scale, scale)
    return Modes((np.pi * k.astype(np.float64)) ** 2, position)


@lru_cache(maxsize=64)
def disc_modes(cutoff: float, highest_order: int) -> Modes | None:
    """Return the modes ∝ Jₙ(αr) cos nφ of the disc of radius 1 with α ≤ `cutoff` and n ≤ `highest_order`.

    None if there are too many.
    """
    found = _roots(jvp, cutoff, highest_order)
    if found is None:
        return None
    n, roots = found
    rates = roots**2
    shape = np.sqrt(np.where(rates > 0, rates, 1) / np.where(rates > 0, rates - n**2, 1))
    angular = np.where((n[:, None] == 0) | (n == 0), np.sqrt(2.0), 1.0)
    numerator = rates[:, None] + rates - 2 * np.outer(n, n)
    return Modes(rates, _coupling(n, rates, angular * numerator * np.outer(shape, shape)))


@lru_cache(maxsize=64)
def ball_modes(cutoff: float, highest_order: int) -> Modes | None:
    """Return the modes ∝ jₙ(αr) Pₙ(cos θ) of the ball of radius 1 with α ≤ `cutoff` and n ≤ `highest_order`.

    x lies along θ = 0. None if there are too many.
    """
    found = _roots(lambda order, x: spherical_jn(order, x, derivative=True), cutoff, highest_order)
    if found is None:
        return None
    n, roots = found
    rates = roots**2
    squared = np.where(rates > 0, 2 * rates, 3) / np.where(rates > 0, rates - n * (n + 1), 1) / (2 * n + 1)
    m = n[:, None]
    numerator = rates[:, None] + rates - m * (n + 1) - n * (m + 1) + 1
    angular = (m + n + 1) / 2
    return Modes(rates, _coupling(n, rates, angular * numerator * np.sqrt(np.outer(squared, squared))))


def _coupling(n: NDArray[np.int64], rates: Array, numerator: Array) -> Array:
    neighbours = np.abs(n[:, None] - n) == 1
    gap = np.where(neighbours, rates[:, None] - rates, 1.0)
    return np.where(neighbours, numerator / gap**2, 0.0)


def _roots(
    derivative: Callable[[int, Array], Array], cutoff: float, highest_order: int
) -> tuple[NDArray[np.int64], Array] | None:
    """Return orders and zeros ≤ `cutoff` of the derivative, the constant mode (order 0, zero 0) first."""
    if cutoff > np.pi * MOST_MODES:
        return None
    orders, roots = [0], [0.0]
    for order in range(min(int(cutoff), highest_order) + 1):
        # The first positive zero of order n lies beyond n (beyond 3 where n = 0).
        grid = np.arange(max(order, 0.5), cutoff + _GRID, _GRID)
        values = derivative(order, grid)
        for i in np.flatnonzero(values[:-1] * values[1:] < 0):
            root = brentq(
                lambda x, order=order: float(derivative(order, x)), grid[i], grid[i + 1], xtol=1e-14
            )
            if root <= cutoff:
                orders.append(order)
                roots.append(root)
        if len(roots) > MOST_MODES:
            return None
    return np.array(orders), np.array(roots)

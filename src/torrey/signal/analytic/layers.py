"""`Layers`: what diffuses, relaxes and passes in concentric layers, and their modes by spectral elements.

In `dimension` d = 1, 2 or 3 (slab, disc, ball) write m = Σₙ uₙ(r) Yₙ, r the distance from the centre, with Yₙ
the normalised even or odd function, cos nφ, or Legendre polynomial of the angle to the gradient. Each angular
order n by itself has

    M = ∫ρ u v r^(d−1) dr,
    S = ∫ρ(D u'v' + D n(n + d − 2) u v/r² + u v/T2) r^(d−1) dr + Σ κ̃ a^(d−1) [u][v] + ρs R^(d−1) u v,

with [u] the jump at an interface of radius a, κ̃ = κ 2ρ₁ρ₂/(ρ₁ + ρ₂), and s the relaxivity of the outermost
wall, of radius R. The position couples neighbouring orders,

    X = cₙ ∫ρ r u v r^(d−1) dr,   cₙ² = (n + 1)(n + d − 2)/((2n + d)(2n + d − 2)),   c₀² = 1/d.

u is rⁿ times a polynomial in r² in the innermost layer, as regular functions are, and a polynomial in log r
in each other, where functions singular at the centre of a small core are smooth. Integrals are Gauss sums, so
many that they are exact to rounding. The number of functions is all that is approximate, and the error falls
faster than any power of it.

Grebenkov, J. Magn. Reson. 205, 181 (2010), who takes the same modes from the roots of determinants of Bessel
functions; Zernike, Physica 1, 689 (1934), for the functions of the innermost layer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import legendre
from scipy.linalg import block_diag, eigh
from scipy.special import eval_jacobi

from .modes import MOST_MODES, Array

_SPHERES = {1: 2.0, 2: 2 * math.pi, 3: 4 * math.pi}
"""Measure of the unit sphere in d dimensions."""


_MORE_POINTS = 30
"""Of Gauss, beyond those that polynomials of r need."""


class Layers(NamedTuple):
    """Concentric layers, the innermost first.

    Attributes
    ----------
    radii : (L,) array
        Outer radius of each, µm.
    diffusivity, density, relaxation : (L,) array
        D in µm²/ms, ρ, 1/T2 in 1/ms.
    exchange : (L − 1,) array
        κ̃ of the interfaces, µm/ms.
    uptake : float
        ρ times the relaxivity of the outermost wall, µm/ms.
    """

    radii: Array
    diffusivity: Array
    density: Array
    relaxation: Array
    exchange: Array
    uptake: float

    @classmethod
    def one(cls, radius: float, diffusivity: float) -> Layers:
        """Return a single layer of unit density without relaxation."""
        one = np.ones(1)
        return cls(radius * one, diffusivity * one, one, 0 * one, np.zeros(0), 0.0)

    def with_wall(self, relaxivity: float) -> Layers:
        """Return the same layers with an outermost wall of this surface relaxivity, µm/ms."""
        return self._replace(uptake=relaxivity * float(self.density[-1]))


class LayerModes(NamedTuple):
    """Modes: `rates` (n,), 1/ms, `position` (n, n) along the gradient, µm, and `uniform` (n,).

    `uniform` is m = 1 in the modes; its square is ∫ρ.
    """

    rates: Array
    position: Array
    uniform: Array


def layer_modes(layers: Layers, *, dimension: int, highest_order: int, functions: int) -> LayerModes | None:
    """Return the modes of angular orders 0 … `highest_order`, of `functions` a layer each.

    None if there are too many.
    """
    # a line has even and odd functions only
    count = 2 if dimension == 1 else highest_order + 1
    if count * len(layers.radii) * functions > MOST_MODES:
        return None
    grid = _Grid.of(layers, dimension, points=2 * functions + count + _MORE_POINTS)
    orders = [_radial_modes(layers, grid, n, dimension, functions) for n in range(count)]
    size = len(orders[0].rates)
    position = np.zeros((count, size, count, size))
    for n in range(count - 1):
        coupling = _angular(n, dimension) * grid.integral(
            orders[n].values, grid.r.ravel(), orders[n + 1].values
        )
        position[n, :, n + 1] = coupling
        position[n + 1, :, n] = coupling.T
    uniform = np.zeros((count, size))
    uniform[0] = math.sqrt(_SPHERES[dimension]) * (orders[0].values @ grid.weights)
    rates = np.concatenate([order.rates for order in orders])
    return LayerModes(rates, position.reshape(count * size, count * size), uniform.ravel())


def axial_modes(layers: Layers, length: float, *, functions: int, along: int) -> LayerModes | None:
    """Return the modes of a cylinder that a gradient along its axis excites, None if there are too many.

    Products of the modes of order 0 across and those of the length, of which there are 2·`along`; the
    diffusivity along the axis differs between layers and couples the former.
    """
    if 2 * along * len(layers.radii) * functions > MOST_MODES:
        return None
    grid = _Grid.of(layers, 2, points=2 * functions + _MORE_POINTS)
    across = _radial_modes(layers, grid, 0, 2, functions)
    ends = layer_modes(Layers.one(length / 2, 1.0), dimension=1, highest_order=1, functions=along)
    assert ends is not None
    diffusivity = grid.integral(across.values, grid.each(layers.diffusivity), across.values)
    rates, vectors = eigh(
        np.kron(np.diag(across.rates), np.eye(len(ends.rates))) + np.kron(diffusivity, np.diag(ends.rates))
    )
    position = vectors.T @ np.kron(np.eye(len(across.rates)), ends.position) @ vectors
    uniform = math.sqrt(_SPHERES[2]) * (across.values @ grid.weights)
    return LayerModes(rates, position, np.kron(uniform, ends.uniform) @ vectors)


class _Grid(NamedTuple):
    """Gauss points `r` (L, Q) of the layers, and of all LQ of them `weights` with ρ r^(d−1)."""

    r: Array
    weights: Array

    @classmethod
    def of(cls, layers: Layers, dimension: int, *, points: int) -> _Grid:
        s, w = legendre.leggauss(points)
        # dr/r or, in the innermost layer, dr over ds
        half = np.diff(np.log(layers.radii), prepend=0.0)[:, None] / 2
        r = layers.radii[:, None] * np.exp(half * (s - 1))
        r[0] = layers.radii[0] * (1 + s) / 2
        dr = half * r
        dr[0] = layers.radii[0] / 2
        return cls(r, (layers.density[:, None] * dr * w * r ** (dimension - 1)).ravel())

    def each(self, values: Array) -> Array:
        """Return the `values` (L,) of the layers at all points."""
        return values.repeat(self.r.shape[1])

    def integral(self, u: Array, factor: Array, v: Array) -> Array:
        """Return ∫ρ u factor v r^(d−1) dr (K, K) of functions (K, LQ)."""
        return np.asarray((u * (factor * self.weights)) @ v.T)


class _RadialModes(NamedTuple):
    """`rates` (K,) of one angular order, and their functions (K, LQ) on the grid."""

    rates: Array
    values: Array


def _radial_modes(layers: Layers, grid: _Grid, n: int, dimension: int, functions: int) -> _RadialModes:
    def at(r: Array) -> tuple[Array, Array]:
        return _functions(layers.radii, r, n + dimension / 2 - 1, n, functions)

    u, slope = at(grid.r)
    D = grid.each(layers.diffusivity)
    centrifugal = n * (n + dimension - 2) * D / grid.r.ravel() ** 2
    inner, outer = at(np.append(0.0, layers.radii[:-1])[:, None])[0], at(layers.radii[:, None])[0]
    jump, wall = outer[:, :-1] - inner[:, 1:], outer[:, -1]
    areas = layers.radii ** (dimension - 1)
    stiffness = grid.integral(slope, D, slope)
    stiffness += grid.integral(u, centrifugal + grid.each(layers.relaxation), u)
    stiffness += (jump * (layers.exchange * areas[:-1])) @ jump.T
    stiffness += layers.uptake * areas[-1] * np.outer(wall, wall)
    rates, vectors = eigh(stiffness, grid.integral(u, np.ones_like(D), u))
    return _RadialModes(rates, vectors.T @ u)


def _functions(radii: Array, r: Array, beta: float, n: int, count: int) -> tuple[Array, Array]:
    """Return `count` functions of each layer (L·count, LQ) and their slopes at `r` (L, Q)."""
    u, slope = _regular(r[0] / radii[0], beta, n, count)
    values, slopes = [u], [slope / radii[0]]
    for a, b, points in zip(radii[:-1], radii[1:], r[1:], strict=True):
        half = np.log(b / a) / 2
        s = 1 + np.log(points / b) / half
        values.append(legendre.legvander(s, count - 1).T)
        slopes.append(legendre.legval(s, legendre.legder(np.eye(count))) / (half * points))
    return block_diag(*values), block_diag(*slopes)


def _regular(t: Array, beta: float, n: int, count: int) -> tuple[Array, Array]:
    """Return tⁿ Pⱼ(2t² − 1) and slopes (count, Q), Pⱼ of Jacobi; in d dimensions orthogonal on 0 … 1."""
    j, x = np.arange(count)[:, None], 2 * t**2 - 1
    jacobi = eval_jacobi(j, 0, beta, x)
    slope = (j + beta + 1) / 2 * eval_jacobi(np.maximum(j - 1, 0), 1, beta + 1, x) * (j > 0)
    return t**n * jacobi, n * t ** max(n - 1, 0) * jacobi + 4 * t ** (n + 1) * slope


def _angular(n: int, d: int) -> float:
    """Return the coupling cₙ = ⟨Yₙ cos θ Yₙ₊₁⟩."""
    return math.sqrt(1 / d if n == 0 else (n + 1) * (n + d - 2) / ((2 * n + d) * (2 * n + d - 2)))

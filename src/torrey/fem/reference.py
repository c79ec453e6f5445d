"""Exact integrals of Lagrange polynomials over a tetrahedron, in barycentric coordinates.

For a tet of volume v and barycentric coordinates λ₀ … λ₃,

    ∫ λ₀^a λ₁^b λ₂^c λ₃^d dx = 6 v a! b! c! d! / (a + b + c + d + 3)!

so every element matrix is a fixed table times a few numbers of the element: v, v·g_a·D·g_b and v·x_c, with
g_a = ∇λ_a. On a triangle of area A, 2A a! b! c! / (a + b + c + 2)!.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import combinations, combinations_with_replacement
from math import factorial, prod

import torch
from torch import Tensor

Polynomial = dict[tuple[int, int, int, int], float]
"""Coefficient of each monomial λ₀^a λ₁^b λ₂^c λ₃^d."""

EDGES = tuple(combinations(range(4), 2))
"""Corner pairs of the six edges, in the order of the second-order nodes 4 … 9."""

FACET_EDGES = tuple(combinations(range(3), 2))
"""Corner pairs of the edges of a triangle, in the order of its second-order nodes 3 … 5."""


@dataclass(frozen=True, eq=False)
class ReferenceElement:
    """Tables of the Lagrange element of `order` 1 or 2, over the L(L+1)/2 local pairs i ≤ j of its L nodes.

    Attributes
    ----------
    pairs : (R, 2) Tensor
        The local pairs.
    mass : (R,) Tensor
        ∫φᵢφⱼ / v.
    moment : (R, 4) Tensor
        ∫λ_c φᵢφⱼ / v, so that ∫x φᵢφⱼ = v Σ_c x_c moment_c.
    stiffness : (R, 16) Tensor
        ½∫(∂_aφᵢ ∂_bφⱼ + ∂_bφᵢ ∂_aφⱼ) / v, with ∂_a the derivative in λ_a and column 4a + b.
    """

    order: int
    pairs: Tensor
    mass: Tensor
    moment: Tensor
    stiffness: Tensor

    @property
    def n_nodes(self) -> int:
        """Nodes of one element: 4 or 10."""
        return 4 if self.order == 1 else 10


@cache
def reference_element(order: int) -> ReferenceElement:
    """Return the tables of the element of `order` 1 (4 nodes) or 2 (10 nodes: corners, then `EDGES`)."""
    shape = _shape_functions(order)
    pairs = list(combinations_with_replacement(range(len(shape)), 2))
    slopes = [[_derivative(phi, a) for a in range(4)] for phi in shape]
    coordinate = [_monomial(c) for c in range(4)]
    mass = [_mean(_product(shape[i], shape[j])) for i, j in pairs]
    moment = [[_mean(_product(x, _product(shape[i], shape[j]))) for x in coordinate] for i, j in pairs]
    stiffness = [
        [
            (_mean(_product(slopes[i][a], slopes[j][b])) + _mean(_product(slopes[i][b], slopes[j][a]))) / 2
            for a in range(4)
            for b in range(4)
        ]
        for i, j in pairs
    ]
    return ReferenceElement(
        order,
        torch.tensor(pairs),
        torch.tensor(mass, dtype=torch.float64),
        torch.tensor(moment, dtype=torch.float64),
        torch.tensor(stiffness, dtype=torch.float64),
    )


@cache
def facet_mass(order: int) -> Tensor:
    """Return ∫φᵢφⱼ / A over a triangle, (L, L), of its three corners and then (order 2) `FACET_EDGES`."""
    shape = _shape_functions(order)
    nodes = [0, 1, 2] + ([4 + EDGES.index(edge) for edge in FACET_EDGES] if order == 2 else [])
    on_facet = [{key: value for key, value in shape[node].items() if key[3] == 0} for node in nodes]
    rows = [[_facet_mean(_product(p, q)) for q in on_facet] for p in on_facet]
    return torch.tensor(rows, dtype=torch.float64)


def _shape_functions(order: int) -> list[Polynomial]:
    corners = [_monomial(i) for i in range(4)]
    if order == 1:
        return corners
    bubbles = [{key: 4.0 for key in _product(corners[i], corners[j])} for i, j in EDGES]
    quadratic = [_sum(_product(c, c), c) for c in corners]
    return quadratic + bubbles


def _monomial(i: int) -> Polynomial:
    a, b, c, d = (int(i == k) for k in range(4))
    return {(a, b, c, d): 1.0}


def _sum(square: Polynomial, linear: Polynomial) -> Polynomial:
    return {key: 2 * value for key, value in square.items()} | {key: -value for key, value in linear.items()}


def _product(p: Polynomial, q: Polynomial) -> Polynomial:
    result: Counter[tuple[int, ...]] = Counter()
    for key_p, value_p in p.items():
        for key_q, value_q in q.items():
            result[tuple(x + y for x, y in zip(key_p, key_q, strict=True))] += value_p * value_q  # type: ignore[assignment]
    return dict(result)  # type: ignore[arg-type]


def _derivative(p: Polynomial, a: int) -> Polynomial:
    result: Polynomial = {}
    for key, value in p.items():
        if key[a]:
            lowered = tuple(k - (i == a) for i, k in enumerate(key))
            result[lowered] = value * key[a]  # type: ignore[index]
    return result


def _facet_mean(p: Polynomial) -> float:
    return sum(value * 2 * prod(map(factorial, key)) / factorial(sum(key) + 2) for key, value in p.items())


def _mean(p: Polynomial) -> float:
    return sum(value * 6 * prod(map(factorial, key)) / factorial(sum(key) + 3) for key, value in p.items())

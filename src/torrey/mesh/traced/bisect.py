"""Local refinement of tets by bisection.

Maubach, SIAM J. Sci. Comput. 16, 210 (1995): a tet (x0, x1, x2, x3) of kind d is cut at the middle m of x0
and xd into (x0 … x(d−1), m, x(d+1) …) and (x1 … xd, m, x(d+1) …), both of kind d − 1, or 3 after 1. From the
tets of a Kuhn cube, of kind 3, come three shapes only, and cutting neighbours until no vertex hangs ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

EDGES = np.array(list(combinations(range(4), 2)))
"""Corners (6, 2) of the edges of a tet."""

_STRIDE = 2**31

_CHILDREN = {
    1: ((0, 4, 2, 3), (1, 4, 2, 3)),
    2: ((0, 1, 4, 3), (1, 2, 4, 3)),
    3: ((0, 1, 2, 4), (1, 2, 3, 4)),
}
"""Corners of both children of a tet of each kind; 4 is the middle."""


@dataclass(frozen=True, eq=False)
class Bisection:
    """`tets` (T, 4) of `kinds` (T,) over `vertices` (V, 3), and the coarser tet of each."""

    vertices: np.ndarray
    tets: np.ndarray
    kinds: np.ndarray
    parents: np.ndarray

    def of(self, kept: np.ndarray) -> Bisection:
        """Return the tets chosen by `kept`, a mask or indices, over all vertices."""
        return Bisection(self.vertices, self.tets[kept], self.kinds[kept], self.parents[kept])


def kuhn_cube(corner: np.ndarray, side: float) -> Bisection:
    """Return a cube from `corner` (3,) cut in six tets of kind 3."""
    bits = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)])
    tets = np.array([np.cumsum([0, *(1 << axis for axis in order)]) for order in permutations(range(3))])
    return Bisection(corner + side * bits, tets, np.full(6, 3), np.arange(6))


def bisect(mesh: Bisection, marked: np.ndarray) -> Bisection:
    """Cut `marked` (T,) tets of `mesh` once and others until no vertex hangs; old vertices stay first."""
    vertices, tets, kinds = mesh.vertices, mesh.tets, mesh.kinds
    parents = np.arange(len(tets))
    keys, middles = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    while marked.any():
        cut, longest = np.flatnonzero(marked), _cut_edges(tets[marked], kinds[marked])
        new = np.setdiff1d(longest, keys)
        number = np.concatenate([middles, len(vertices) + np.arange(len(new))])
        vertices = np.concatenate([vertices, vertices[edge_ends(new)].mean(1)])
        keys = np.concatenate([keys, new])
        order = np.argsort(keys)
        keys, middles = keys[order], number[order]
        middle = middles[np.searchsorted(keys, longest)]
        halves, half_kinds = _children(np.column_stack([tets[cut], middle]), kinds[cut])
        tets = np.concatenate([tets[~marked], halves])
        kinds = np.concatenate([kinds[~marked], half_kinds])
        parents = np.concatenate([parents[~marked], parents[cut], parents[cut]])
        marked = np.zeros(len(tets), dtype=bool)
        for i, j in EDGES:
            marked |= _contains(keys, edge_key(tets[:, i], tets[:, j]))
    return Bisection(vertices, tets, kinds, parents)


def edge_key(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return one number for each edge between vertices `a` and `b` (E,), in either order."""
    key: np.ndarray = np.minimum(a, b) * _STRIDE + np.maximum(a, b)
    return key


def edge_ends(keys: np.ndarray) -> np.ndarray:
    """Return the vertices (E, 2) of the edges that `keys` (E,) stand for, the lower first."""
    return np.stack([keys // _STRIDE, keys % _STRIDE], axis=1)


def _cut_edges(tets: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    return edge_key(tets[:, 0], tets[np.arange(len(tets)), kinds])


def _contains(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.searchsorted(keys, wanted)
    found: np.ndarray = keys[np.minimum(place, len(keys) - 1)] == wanted
    return found


def _children(corners: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both children of tets with their middles, `corners` (M, 5): first all first, then all second."""
    halves = np.empty((2, len(corners), 4), dtype=np.int64)
    for kind, (first, second) in _CHILDREN.items():
        of_kind = kinds == kind
        halves[0, of_kind] = corners[of_kind][:, first]
        halves[1, of_kind] = corners[of_kind][:, second]
    return halves.reshape(-1, 4), np.tile(np.where(kinds > 1, kinds - 1, 3), 2)

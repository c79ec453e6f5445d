"""Cut a tetrahedral grid at a level set.

Labelle and Shewchuk, ACM Trans. Graph. 26, 57 (2007), on any conforming grid: vertices nearer to the surface
than a share of an edge are drawn onto it, so that no cut leaves a sliver. What is left of a tet, at most a
prism, is cut in tets by the order of its vertices (Dompierre, Labbé, Vallet and Camarero, 8th Int. Meshing
Roundtable, 1999), alike on both sides of a face.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..quality import tet_quality
from ..surface import boundary_triangles
from .bisect import EDGES, edge_ends, edge_key

SNAP = 0.3
"""Share of an edge under which a vertex is drawn to the place where the edge crosses the surface."""

WORST = 0.05
"""Where drawing a vertex leaves a tet of a quality below this, the edges at the vertex are cut instead."""

_HALVINGS = 10
"""Places on edges are known to a thousandth of the edge."""

Depth = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distance to the surface, negative inside, of points (P, 3), each in one of the tets (P,)."""

# a prism (a0 a1 a2 b0 b1 b2) turned so that each of its corners comes first
_TURNS = np.array(
    [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 0, 4, 5, 3],
        [2, 0, 1, 5, 3, 4],
        [3, 5, 4, 0, 2, 1],
        [4, 3, 5, 1, 0, 2],
        [5, 4, 3, 2, 1, 0],
    ]
)


def stuff(vertices: np.ndarray, tets: np.ndarray, depth: Depth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the part of a grid where `depth` is negative, bounded by a closed surface.

    Where drawing a vertex would pinch the surface or flatten a tet, the edges at it are cut instead.

    Returns
    -------
    vertices : (W, 3) float array
        Those of the grid, some of which are in no tet, and new ones.
    tets : (S, 4) int array
        Of positive volume.
    parents : (S,) int array
        The tet of the grid that each is part of.
    """
    value = np.full(len(vertices), np.inf)
    np.minimum.at(value, tets.ravel(), depth(vertices[tets.ravel()], np.repeat(np.arange(len(tets)), 4)))
    inside = value < 0
    ends, owner = _edges(tets)
    crossing = inside[ends[:, 0]] != inside[ends[:, 1]]
    ends, owner = ends[crossing], owner[crossing]
    share = _crossings(vertices[ends], inside[ends[:, 0]], owner, depth)
    drawn, edge = _nearest_cut(ends, share)
    # not nearer to a vertex that stays than SNAP
    cuts = _at(vertices[ends], share.clip(SNAP, 1 - SNAP))
    while True:
        sign = np.where(inside, -1, 1)
        sign[drawn] = 0
        parts, parents = _cut(tets, sign, ends, len(vertices))
        points = np.concatenate([vertices, cuts])
        parts = _positive(points, parts)
        points[drawn] = _at(vertices[ends[edge]], share[edge])
        # negative where drawing vertices turned a tet inside out
        bad = quality(points, parts) < WORST
        keep = ~np.isin(drawn, np.union1d(tets[parents[bad]], _pinched(parts)))
        if keep.all():
            return points, parts, parents
        drawn, edge = drawn[keep], edge[keep]


def quality(points: np.ndarray, tets: np.ndarray) -> np.ndarray:
    """Return the quality (T,) of `tets` (T, 4) over `points`, negative where inverted."""
    return tet_quality(torch.as_tensor(points), torch.as_tensor(tets)).numpy()


def _edges(tets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return every edge (E, 2) once, sorted, and a tet (E,) that has it."""
    pairs = np.sort(tets[:, EDGES].reshape(-1, 2), axis=1)
    first = np.unique(edge_key(pairs[:, 0], pairs[:, 1]), return_index=True)[1]
    return pairs[first], first // len(EDGES)


def _at(ends: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the points (E, 3) on edges `ends` (E, 2, 3) at `share` (E,) of their length."""
    points: np.ndarray = ends[:, 0] + share[:, None] * (ends[:, 1] - ends[:, 0])
    return points


def _crossings(ends: np.ndarray, starts_inside: np.ndarray, owner: np.ndarray, depth: Depth) -> np.ndarray:
    """Return the share (E,) of the edges `ends` (E, 2, 3) at which they cross the surface."""
    low, high = np.zeros(len(ends)), np.ones(len(ends))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        before = (depth(_at(ends, middle), owner) < 0) == starts_inside
        low, high = np.where(before, middle, low), np.where(before, high, middle)
    shares: np.ndarray = (low + high) / 2
    return shares


def _nearest_cut(ends: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices with a cut nearer than SNAP, and the edge on which their nearest cut lies."""
    away = np.concatenate([share, 1 - share])
    order = np.argsort(away)
    order = order[away[order] < SNAP]
    drawn, first = np.unique(ends.T.ravel()[order], return_index=True)
    return drawn, order[first] % len(ends)


def _cut(tets: np.ndarray, sign: np.ndarray, ends: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the parts of `tets` where `sign` is negative, and their tet; edge e is cut in vertex n + e."""
    order = np.argsort(sign[tets], axis=1, kind="stable")
    tets = np.take_along_axis(tets, order, axis=1)
    below, above = (sign[tets] < 0).sum(1), (sign[tets] > 0).sum(1)
    keys = edge_key(ends[:, 0], ends[:, 1])

    def cut(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return n + np.searchsorted(keys, edge_key(a, b))

    whole = np.flatnonzero((below > 0) & (above == 0))
    parts, parents = [tets[whole]], [whole]
    for k in (1, 2, 3):
        tips = np.flatnonzero((below == 1) & (above == k))
        a, *others = tets[tips].T
        parts.append(np.stack([a, *others[: 3 - k], *(cut(a, b) for b in others[3 - k :])], axis=1))
        parents.append(tips)
    prisms = []
    for k, m in ((3, 1), (2, 1), (2, 2)):
        chosen = np.flatnonzero((below == k) & (above == m))
        a, b, c, d = tets[chosen].T
        sides = {
            (3, 1): (a, b, c, cut(a, d), cut(b, d), cut(c, d)),
            (2, 1): (a, b, c, cut(a, d), cut(b, d), c),  # c is on the surface: a pyramid
            (2, 2): (a, cut(a, c), cut(a, d), b, cut(b, c), cut(b, d)),
        }
        prisms.append(np.stack(sides[k, m], axis=1))
        parents.append(np.repeat(chosen, 3))
    pieces, origin = np.concatenate([*parts, _split(np.concatenate(prisms))]), np.concatenate(parents)
    ordered = np.sort(pieces, axis=1)
    real = (ordered[:, 1:] != ordered[:, :-1]).all(1)  # a pyramid gives two tets
    return pieces[real], origin[real]


def _split(prisms: np.ndarray) -> np.ndarray:
    """Cut `prisms` (P, 6) in three tets each (3P, 4), every side from its lowest vertex."""
    a0, a1, a2, b0, b1, b2 = np.take_along_axis(prisms, _TURNS[prisms.argmin(1)], axis=1).T
    from_a1 = np.minimum(a1, b2) < np.minimum(a2, b1)
    low, high = np.where(from_a1, [a1, b2], [b1, a2])
    tets = [
        [a0, a1, a2, np.where(from_a1, b2, b1)],
        [a0, low, high, np.where(from_a1, b1, b2)],
        [a0, b1, b2, b0],
    ]
    return np.array(tets).transpose(2, 0, 1).reshape(-1, 4)


def _positive(points: np.ndarray, tets: np.ndarray) -> np.ndarray:
    a, b, c = (points[tets[:, i]] - points[tets[:, 0]] for i in (1, 2, 3))
    negative = (a * np.cross(b, c)).sum(1) < 0
    return np.where(negative[:, None], tets[:, [1, 0, 2, 3]], tets)


def _pinched(tets: np.ndarray) -> np.ndarray:
    """Return the vertices about which the boundary of `tets` is not one fan of triangles."""
    triangles = boundary_triangles(torch.as_tensor(tets)).numpy()
    n = len(triangles)
    # corner i of triangle t is node 3t + i; across an edge the corners at either end belong together
    corner = np.arange(3 * n).reshape(n, 3)
    following = np.roll(corner, -1, axis=1)
    vertex = triangles.ravel()
    forward = (vertex[corner] < vertex[following]).ravel()
    low, high = np.where(forward, [corner.ravel(), following.ravel()], [following.ravel(), corner.ravel()])
    key = edge_key(vertex[low], vertex[high])
    order = np.argsort(key, kind="stable")
    key, low, high = key[order], low[order], high[order]
    same = np.flatnonzero(key[1:] == key[:-1])
    rows, columns = np.r_[low[same], high[same]], np.r_[low[same + 1], high[same + 1]]
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(3 * n, 3 * n))
    fan = connected_components(graph, directed=False)[1]
    owner = np.empty(fan.max() + 1, dtype=np.int64)
    owner[fan] = vertex
    fans = np.bincount(owner)
    edges, counts = np.unique(key, return_counts=True)
    crowded = edges[counts != 2]
    return np.union1d(np.flatnonzero(fans > 1), edge_ends(crowded))

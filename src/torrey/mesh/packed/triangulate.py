"""Triangulate a plane region that closed curves bound and divide, by Delaunay refinement.

Ruppert, J. Algorithms 18, 548 (1995): split the edges of curves until no point lies in the circle over one of
them as diameter, and insert the circumcentre of each triangle that is too large or too thin, unless it would
lie in such a circle: then that edge is split. Every edge of a curve is then an edge of the triangulation, and
triangles are as small as the gaps between curves ask for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

from ...errors import MeshError
from .curves import Curve

_RADIUS_TO_EDGE = 1.15
"""Largest ratio of the circumradius of a triangle to its shortest edge: angles above 25.8 degrees."""

_INSIDE = 1 - 1e-9
"""Share of a circle's radius within which a point counts as inside, against rounding of right angles."""

_RADIUS_TO_SIZE = 0.65
"""Largest circumradius over the wanted edge length; 0.58 is that of an equilateral triangle of this edge."""

_FLAT = 1e-9
"""Area over the longest edge squared under which a triangle on the hull is flat to round-off."""

_SHORTEST = 1e-4
"""Distance of two points over the wanted edge length at which curves count as touching."""

_SMOOTHINGS = 8


def triangulate(curves: Sequence[Curve], edge_length: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(points, triangles, region)` of the inside of `curves`, which run counter-clockwise.

    Parameters
    ----------
    curves : sequence of Curve
        Closed, apart from each other, nested or beside each other.
    edge_length : float
        About the longest edge.

    Returns
    -------
    points : (P, 2) array
    triangles : (T, 3) array
        Counter-clockwise.
    region : (T,) array
        The curve that each triangle lies directly within.

    Raises
    ------
    MeshError
        When curves cross or nearly touch, so that refinement finds no end.
    """
    parameters = [curve.start(edge_length) for curve in curves]
    free = np.empty((0, 2))
    while True:
        points = np.concatenate([*(c.at(p) for c, p in zip(curves, parameters, strict=True)), free])
        edges = _curve_edges(parameters)
        if cKDTree(points).query(points, k=2)[0][:, 1].min() < _SHORTEST * edge_length:
            break
        split = _encroached(points, edges, points)
        if not split.any():
            triangles = _delaunay(points)
            region = _regions(triangles, edges, parameters)
            if region is None:
                break
            triangles, region = triangles[region >= 0], region[region >= 0]
            centres = _new_points(points[triangles], edge_length)
            if len(centres) == 0:
                return _smoothed(points, edges, triangles, region, parameters)
            split = _encroached(points, edges, centres)
            free = np.concatenate([free, centres[~_encroaching(points, edges, centres)]])
        parameters = _split(curves, parameters, split)
    raise MeshError(
        f"triangulate: no end of refinement after {len(points)} points, expected curves that do not touch"
    )


def _curve_edges(parameters: Sequence[np.ndarray]) -> np.ndarray:
    """Return the edges (E, 2) of all polygons, in the sense in which they run."""
    edges, first = [], 0
    for values in parameters:
        start = np.arange(len(values))
        edges.append(first + np.stack([start, np.roll(start, -1)], axis=1))
        first += len(values)
    return np.concatenate(edges)


def _split(curves: Sequence[Curve], parameters: Sequence[np.ndarray], split: np.ndarray) -> list[np.ndarray]:
    """Return parameters with one more in the middle of each edge of the mask `split` (E,)."""
    parts = np.split(split, np.cumsum([len(p) for p in parameters])[:-1])
    refined = []
    for curve, values, cut in zip(curves, parameters, parts, strict=True):
        middle = (values + np.append(values[1:], curve.period)) / 2
        refined.append(np.sort(np.concatenate([values, middle[cut]])))
    return refined


def _diametral(points: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (E, 2) and radii (E,) of the circles over `edges` as diameter."""
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    radius: np.ndarray = np.linalg.norm(b - a, axis=1) / 2 * _INSIDE
    return (a + b) / 2, radius


def _encroached(points: np.ndarray, edges: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which of `edges` (E,) have one of `others` (k, 2) in their circle."""
    middle, radius = _diametral(points, edges)
    nearest, _ = cKDTree(others).query(middle)
    encroached: np.ndarray = nearest < radius
    return encroached


def _encroaching(points: np.ndarray, edges: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which of `others` (k,) lie in the circle of one of `edges` (E, 2)."""
    found = cKDTree(others).query_ball_point(*_diametral(points, edges))
    mask = np.zeros(len(others), dtype=bool)
    mask[[i for near in found for i in near]] = True
    return mask


def _delaunay(points: np.ndarray) -> np.ndarray:
    """Return the Delaunay triangles (T, 3), counter-clockwise, without flat ones on the hull."""
    triangles = Delaunay(points).simplices.astype(np.int64)
    area = _areas(points[triangles])
    triangles[area < 0] = triangles[area < 0][:, [1, 0, 2]]
    lengths = np.linalg.norm(points[triangles] - points[np.roll(triangles, 1, axis=1)], axis=2)
    solid: np.ndarray = triangles[np.abs(area) > _FLAT * lengths.max(1) ** 2]
    return solid


def _areas(corners: np.ndarray) -> np.ndarray:
    """Return signed areas (T,) of triangles (T, 3, 2)."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas: np.ndarray = (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2
    return areas


def _regions(triangles: np.ndarray, edges: np.ndarray, parameters: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the curve directly around each triangle (T,), −1 outside; None where an edge is missing."""
    n = int(max(triangles.max(), edges.max())) + 1
    forward = (triangles * n + np.roll(triangles, -1, axis=1)).ravel()
    backward = (np.roll(triangles, -1, axis=1) * n + triangles).ravel()
    order = np.argsort(forward)

    def left_of(key: np.ndarray) -> np.ndarray:
        """Return the directed edge of a triangle (3T of them) with each key, −1 where there is none."""
        place = np.minimum(np.searchsorted(forward, key, sorter=order), len(order) - 1)
        return np.where(forward[order[place]] == key, order[place], -1)

    borders = left_of(edges[:, 0] * n + edges[:, 1])
    if (borders < 0).any():
        return None
    across = left_of(backward)
    open_ = across >= 0
    open_[borders] = False
    open_[across[borders][across[borders] >= 0]] = False
    pairs = (np.flatnonzero(open_) // 3, across[open_] // 3)
    graph = coo_array((np.ones(open_.sum(), dtype=np.int8), pairs), shape=(len(triangles),) * 2)
    n_parts, part = connected_components(graph, directed=False)
    within = np.full(n_parts, -1)
    within[part[borders // 3]] = np.repeat(np.arange(len(parameters)), [len(p) for p in parameters])
    region: np.ndarray = within[part]
    return region


def _new_points(corners: np.ndarray, edge_length: float) -> np.ndarray:
    """Return circumcentres (k, 2) of triangles (T, 3, 2) to be split, none within the circle of a larger."""
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    square = np.stack([(a * a).sum(1), (b * b).sum(1)], axis=1)
    across = b * square[:, :1] - a * square[:, 1:]
    rotated = np.stack([across[:, 1], -across[:, 0]], axis=1)
    offset = rotated / (4 * _areas(corners))[:, None]
    radius = np.linalg.norm(offset, axis=1)
    shortest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).min(1)
    bad = (radius > _RADIUS_TO_EDGE * shortest) | (radius > _RADIUS_TO_SIZE * edge_length)
    centres: np.ndarray = (corners[:, 0] + offset)[bad]
    radius = radius[bad]
    if len(centres) == 0:
        return centres
    order = np.argsort(-radius)
    centres, radius = centres[order], radius[order]
    first, second = cKDTree(centres).query_pairs(radius[0], output_type="ndarray").T
    first, second = np.minimum(first, second), np.maximum(first, second)
    close = np.linalg.norm(centres[first] - centres[second], axis=1) < radius[first]
    keep = np.ones(len(centres), dtype=bool)
    keep[second[close]] = False
    centres = centres[keep]
    return centres


def _smoothed(
    points: np.ndarray,
    edges: np.ndarray,
    triangles: np.ndarray,
    region: np.ndarray,
    parameters: Sequence[np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the triangulation with points off the curves nearer to the middle of their neighbours."""
    for _ in range(_SMOOTHINGS):
        moved = _towards_neighbours(points, triangles, edges)
        again = _delaunay(moved)
        labels = _regions(again, edges, parameters)
        if labels is None:
            break
        points, triangles, region = moved, again[labels >= 0], labels[labels >= 0]
    return points, triangles, region


def _towards_neighbours(points: np.ndarray, triangles: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return `points` with those off the curves at the mean of their neighbours, where no triangle suffers.

    A triangle suffers that becomes worse than all around its corners were; then its corners stay.
    """
    corners = triangles.ravel()
    others = points[triangles].sum(1, keepdims=True) - points[triangles]
    total = np.stack([np.bincount(corners, others[..., k].ravel(), len(points)) for k in (0, 1)], axis=1)
    count = 2 * np.bincount(corners, minlength=len(points))  # each neighbour is met in two triangles
    moving = count > 0
    moving[edges] = False
    worst = np.full(len(points), np.inf)
    np.minimum.at(worst, corners, np.repeat(_quality(points[triangles]), 3))
    floor = worst[triangles].min(1)
    while True:
        moved = points.copy()
        moved[moving] = total[moving] / count[moving, None]
        suffers = (_quality(moved[triangles]) < floor) & moving[triangles].any(1)
        if not suffers.any():
            return moved
        moving[triangles[suffers]] = False


def _quality(corners: np.ndarray) -> np.ndarray:
    """Return 4√3·area/Σ(edge²) of triangles (T, 3, 2): 1 equilateral, 0 flat, negative inverted."""
    squares = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum((1, 2))
    quality: np.ndarray = 4 * math.sqrt(3) * _areas(corners) / squares
    return quality

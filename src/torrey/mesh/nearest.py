"""Nearest points of a triangle surface, exact, and of a point set."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy.spatial import cKDTree

_FIRST = 6
"""Triangles, nearest by centroid, whose distance bounds the search."""

_BLOCK = 8192
"""Points searched at once; bounds the memory of the candidate list."""

_LONG = 2.0
"""Triangles with an edge this many medians long are cut: one large triangle would widen every search."""


class AbstractTarget(ABC):
    """Something that knows its point nearest to any other."""

    @abstractmethod
    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the nearest point (n, 3) to each of `points` (n, 3), µm."""

    def near(self, points: np.ndarray) -> np.ndarray:
        """Return a point (n, 3) nearly the nearest, never nearer than it: quick, for comparing poses."""
        return self.nearest(points)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Return the distance (n,) of each of `points` (n, 3), µm."""
        distance: np.ndarray = np.linalg.norm(points - self.nearest(points), axis=1)
        return distance


class PointTarget(AbstractTarget):
    """A set of points (n, 3), µm."""

    def __init__(self, points: np.ndarray) -> None:
        self._points = points
        self._tree = cKDTree(points)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the nearest member of the set to each of `points` (n, 3)."""
        found: np.ndarray = self._points[self._tree.query(points)[1]]
        return found


class TriangleTarget(AbstractTarget):
    """The surface of `triangles` (F, 3) over `vertices` (V, 3), µm; degenerate triangles are allowed.

    A triangle whose corners lie within ρ of its centroid c is no nearer to p than |p − c| − ρ. The
    distance to the few triangles nearest by centroid therefore leaves a short list of others that could
    be nearer, and the result is exact.
    """

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray) -> None:
        corners = _cut_long(_longest_edge_first(vertices[triangles]))
        self._centroids = corners.mean(1)
        self._reach = np.linalg.norm(corners - self._centroids[:, None], axis=2).max(1)
        self._tree = cKDTree(self._centroids)
        self._origin = corners[:, 0]
        self._axes, self._plane = _local_frames(corners)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the nearest point of the surface to each of `points` (n, 3)."""
        blocks = [self._nearest(points[i : i + _BLOCK]) for i in range(0, len(points), _BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty((0, 3))

    def near(self, points: np.ndarray) -> np.ndarray:
        """Return the nearest point (n, 3) of the six triangles that are nearest by centroid."""
        n, first = len(points), min(_FIRST, len(self._centroids))
        face = self._tree.query(points, k=[*range(1, first + 1)])[1].ravel()
        owner = np.repeat(np.arange(n), first)
        closest = self._closest(points[owner], face)
        best = np.linalg.norm(closest - points[owner], axis=1).reshape(n, first).argmin(1)
        found: np.ndarray = closest.reshape(n, first, 3)[np.arange(n), best]
        return found

    def _nearest(self, points: np.ndarray) -> np.ndarray:
        result = self.near(points)
        bound = np.linalg.norm(result - points, axis=1)
        lists = self._tree.query_ball_point(points, bound + self._reach.max(), return_sorted=False)
        owner = np.repeat(np.arange(len(points)), [len(found) for found in lists])
        face = np.fromiter((f for found in lists for f in found), dtype=np.intp, count=len(owner))
        gap = np.linalg.norm(points[owner] - self._centroids[face], axis=1) - self._reach[face]
        nearer = gap < bound[owner]
        owner, face = owner[nearer], face[nearer]
        closest = self._closest(points[owner], face)
        distance = np.linalg.norm(closest - points[owner], axis=1)
        # written farthest first, so that the nearest candidate of a point is the one that stays
        order = np.argsort(-distance, kind="stable")
        order = order[distance[order] < bound[owner[order]]]
        result[owner[order]] = closest[order]
        return result

    def _closest(self, points: np.ndarray, face: np.ndarray) -> np.ndarray:
        """Return the point (m, 3) of triangle `face` (m,) nearest to `points` (m, 3), pair by pair."""
        axes, origin = self._axes[face], self._origin[face]
        x, y = np.einsum("mai,mi->am", axes, points - origin)
        u, v = _closest_in_plane(x, y, *self._plane[:, face])
        closest: np.ndarray = origin + u[:, None] * axes[:, 0] + v[:, None] * axes[:, 1]
        return closest


def _longest_edge_first(corners: np.ndarray) -> np.ndarray:
    """Return `corners` (F, 3, 3) turned so that corners 0 and 1 are the ends of the longest edge."""
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    turn = (lengths.argmax(1)[:, None] + np.arange(3)) % 3
    turned: np.ndarray = np.take_along_axis(corners, turn[:, :, None], axis=1)
    return turned


def _cut_long(corners: np.ndarray) -> np.ndarray:
    """Return the same surface (F', 3, 3) with long triangles cut in two across their longest edge."""
    limit = _LONG * np.median(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1))
    most = 4 * len(corners) + 1000
    long = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) > limit
    while long.any() and len(corners) < most:
        a, b, c = corners[long].transpose(1, 0, 2)
        middle = (a + b) / 2
        halves = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
        corners = np.concatenate([corners[~long], _longest_edge_first(halves)])
        long = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1) > limit
    return corners


def _local_frames(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return in-plane axes (F, 2, 3) and l, u, v (3, F): the corners are (0, 0), (l, 0) and (u, v), v ≥ 0."""
    along, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(along, axis=1)
    first = np.where(length[:, None] > 0, along / np.where(length > 0, length, 1)[:, None], np.eye(3)[0])
    u = (first * other).sum(1)
    across = other - u[:, None] * first
    v = np.linalg.norm(across, axis=1)
    # a triangle without area has no second axis: with v = 0 any unit vector serves
    second = across / np.where(v > 0, v, 1)[:, None]
    return np.stack([first, second], axis=1), np.stack([length, u, v])


def _closest_in_plane(
    x: np.ndarray, y: np.ndarray, length: np.ndarray, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the point nearest to (x, y) in the triangle (0, 0), (l, 0), (u, v)."""
    inside = (v > 0) & (y >= 0) & (u * y <= v * x) & ((u - length) * y >= v * (x - length))
    best_x, best_y = np.clip(x, 0, length), np.zeros_like(y)
    best = (x - best_x) ** 2 + y**2
    for start, run in ((np.zeros_like(u), u), (length, u - length)):
        square = run**2 + v**2
        t = np.clip(((x - start) * run + y * v) / np.where(square > 0, square, 1), 0, 1)
        edge_x, edge_y = start + t * run, t * v
        distance = (x - edge_x) ** 2 + (y - edge_y) ** 2
        closer = distance < best
        best_x, best_y = np.where(closer, edge_x, best_x), np.where(closer, edge_y, best_y)
        best = np.where(closer, distance, best)
    return np.where(inside, x, best_x), np.where(inside, y, best_y)

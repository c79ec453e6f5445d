"""Where the extracellular space around cells ends: at a box, at their convex hull, or close around them.

Each is a value that gives the outline around the discs of a packing and the surface around closed surfaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from ...errors import InputError
from ..surface import Surface
from ..templates import box, sphere
from .level_set import contours, isosurface
from .packing import Packing
from .winding import inside

_ROUNDNESS = 0.1
"""Share of the margin by which chords of an outline may cut it."""

_GRID = 0.5
"""Spacing of the grid that finds the outline of a tight wrap, and of points on cells, over the margin."""

_COARSE = 2.0
"""Spacing of the grid that finds its surface, over the margin: a finer surface makes many small tets."""

_CHUNK = 1_000_000
"""Pairs of a point and a cell at once."""


class Extracellular(Protocol):
    """A space around cells, as one outer boundary."""

    def outline(self, packing: Packing, edge_length: float) -> np.ndarray:
        """Return the corners (k, 2) of the polygon around the discs of `packing`, counter-clockwise, µm."""

    def surface(self, cells: Sequence[Surface], edge_length: float) -> Surface:
        """Return the closed surface around `cells`."""


@dataclass(frozen=True)
class BoxAround:
    """The box of edges along the axes that is wider than the cells by `margin` µm on every side."""

    margin: float

    def __post_init__(self) -> None:
        _require_margin(self)

    def outline(self, packing: Packing, edge_length: float) -> np.ndarray:
        """Return the four corners (4, 2), µm."""
        (x0, y0), (x1, y1) = _extent(*_discs(packing), self.margin)
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

    def surface(self, cells: Sequence[Surface], edge_length: float) -> Surface:
        """Return the twelve triangles."""
        lower, upper = _extent(_points(cells), 0.0, self.margin)
        return box_surface(lower, upper)


@dataclass(frozen=True)
class HullAround:
    """The convex hull of all points within `margin` µm of the cells."""

    margin: float

    def __post_init__(self) -> None:
        _require_margin(self)

    def outline(self, packing: Packing, edge_length: float) -> np.ndarray:
        """Return the corners (k, 2), µm."""
        centres, radii = _discs(packing)
        rounds = []
        for centre, radius in zip(centres, radii + self.margin, strict=True):
            chord = min(edge_length, math.sqrt(8 * _ROUNDNESS * self.margin * radius))
            count = max(12, math.ceil(2 * math.pi * radius / chord))
            angle = np.arange(count) * (2 * math.pi / count)
            rounds.append(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
        points = np.concatenate(rounds)
        corners: np.ndarray = points[ConvexHull(points).vertices]
        return corners

    def surface(self, cells: Sequence[Surface], edge_length: float) -> Surface:
        """Return the triangles of the hull."""
        points = _points(cells)
        points = points[ConvexHull(points).vertices]
        ball = sphere(self.margin, resolution=3).surface.vertices.numpy()
        points = (points[:, None] + ball).reshape(-1, 3)
        hull = ConvexHull(points)
        a, b, c = np.moveaxis(points[hull.simplices], 1, 0)
        inwards = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(1) < 0
        triangles = hull.simplices.astype(np.int64)
        triangles[inwards] = triangles[inwards][:, ::-1]
        return Surface.from_indexed(torch.from_numpy(points), torch.from_numpy(triangles))


@dataclass(frozen=True)
class WrapAround:
    """A tight wrap about `margin` µm outside the cells, which bridges gaps between them and fills pockets.

    It is the level set φ = margin of the smooth distance φ(x) = −m log Σᵢ exp(−dᵢ(x)/m), with dᵢ the distance
    to cell i and m the margin, which is at most the distance to the nearest cell.
    """

    margin: float

    def __post_init__(self) -> None:
        _require_margin(self)

    def outline(self, packing: Packing, edge_length: float) -> np.ndarray:
        """Return corners (k, 2) about as far apart as the margin, or `edge_length` where that is less, µm."""
        centres, radii = _discs(packing)

        def level(points: np.ndarray) -> np.ndarray:
            parts = np.array_split(points, 1 + len(points) * len(centres) // _CHUNK)
            return np.concatenate([self._level(cdist(part, centres) - radii) for part in parts])

        lower, upper = _extent(centres, radii, self._reach(len(radii)))
        curves = contours(level, lower, upper, _GRID * self.margin)
        outer = [curve for curve in curves if _signed_area(curve) > 0]
        self._require_one(len(outer))
        return _equidistant(outer[0], min(edge_length, self.margin))

    def surface(self, cells: Sequence[Surface], edge_length: float) -> Surface:
        """Return the triangles of the wrap, from a grid of `edge_length` or twice the margin."""
        trees = [cKDTree(_samples(cell, _GRID * self.margin)) for cell in cells]

        def level(points: np.ndarray) -> np.ndarray:
            distance = [
                np.where(inside(cell, points), -1, 1) * tree.query(points)[0]
                for cell, tree in zip(cells, trees, strict=True)
            ]
            return self._level(np.stack(distance, axis=1))

        lower, upper = _extent(_points(cells), 0.0, self._reach(len(cells)))
        spacing = min(edge_length, _COARSE * self.margin)
        parts = _parts(isosurface(level, lower, upper, spacing))
        # walls of pockets are turned inwards
        outer = [part for part in parts if float(part.enclosed_volume) > 0]
        self._require_one(len(outer))
        return outer[0]

    def _level(self, distance: np.ndarray) -> np.ndarray:
        level: np.ndarray = -self.margin * logsumexp(-distance / self.margin, axis=1) - self.margin
        return level

    def _reach(self, n_cells: int) -> float:
        """Return a distance from `n_cells` cells at which the level is positive whatever their places."""
        return self.margin * (2 + math.log(n_cells))

    def _require_one(self, n_parts: int) -> None:
        if n_parts != 1:
            raise InputError(
                f"WrapAround: falls into {n_parts} parts with margin {self.margin}, expected one: "
                "a wider margin"
            )


def box_surface(lower: np.ndarray, upper: np.ndarray) -> Surface:
    """Return the box from `lower` (3,) to `upper` (3,), µm, as twelve triangles."""
    walls = box(tuple((upper - lower).tolist()), (1, 1, 1)).surface
    return Surface(walls.vertices + torch.from_numpy((lower + upper) / 2), walls.triangles)


def _discs(packing: Packing) -> tuple[np.ndarray, np.ndarray]:
    return packing.centres.numpy(), packing.radii.numpy()


def _points(cells: Sequence[Surface]) -> np.ndarray:
    return np.concatenate([cell.vertices.detach().cpu().double().numpy() for cell in cells])


def _extent(centres: np.ndarray, radii: np.ndarray | float, margin: float) -> tuple[np.ndarray, np.ndarray]:
    reach = np.broadcast_to(np.asarray(radii) + margin, len(centres))[:, None]
    lower: np.ndarray = (centres - reach).min(0)
    upper: np.ndarray = (centres + reach).max(0)
    return lower, upper


def _signed_area(curve: np.ndarray) -> float:
    x, y = curve.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _equidistant(curve: np.ndarray, spacing: float) -> np.ndarray:
    """Return points (n, 2) at most about `spacing` apart along the closed polygon `curve` (k, 2)."""
    closed = np.concatenate([curve, curve[:1]])
    length = np.concatenate([[0], np.linalg.norm(np.diff(closed, axis=0), axis=1).cumsum()])
    count = max(12, math.ceil(length[-1] / spacing))
    at = np.arange(count) * (length[-1] / count)
    return np.stack([np.interp(at, length, closed[:, k]) for k in (0, 1)], axis=1)


def _samples(surface: Surface, spacing: float) -> np.ndarray:
    """Return points (n, 3) of a surface that leave no gap wider than about `spacing`, µm."""
    corners = surface.vertices.detach().cpu().double().numpy()[surface.triangles.cpu().numpy()]
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max()
    n = max(1, math.ceil(longest / spacing))
    weights = np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n
    points: np.ndarray = np.einsum("wk,tkx->twx", weights, corners).reshape(-1, 3)
    return points


def _parts(surface: Surface) -> list[Surface]:
    """Return the connected parts of a surface."""
    triangles = surface.triangles.numpy()
    n = len(surface.vertices)
    links = np.concatenate([triangles[:, :2], triangles[:, 1:]])
    graph = coo_array((np.ones(len(links), dtype=np.int8), links.T), shape=(n, n))
    n_parts, part = connected_components(graph, directed=False)
    of_triangle = torch.from_numpy(part[triangles[:, 0]])
    return [
        Surface.from_indexed(surface.vertices, surface.triangles[of_triangle == k]) for k in range(n_parts)
    ]


def _require_margin(space: BoxAround | HullAround | WrapAround) -> None:
    if not (space.margin > 0 and math.isfinite(space.margin)):
        raise InputError(
            f"{type(space).__name__}: margin is {space.margin}, expected a positive number of µm"
        )

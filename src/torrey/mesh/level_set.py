"""Level sets of a function sampled on a grid: closed curves in the plane, closed surfaces in space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .surface import Surface
from .templates import box

Function = Callable[[np.ndarray], np.ndarray]


def contours(function: Function, lower: np.ndarray, upper: np.ndarray, spacing: float) -> list[np.ndarray]:
    """Return the closed curves, each (k, 2), on which `function` of points (n, 2) vanishes.

    The grid spans `lower` (2,) to `upper` (2,), where the function is positive on the border. Curves have
    the negative side on their left.
    """
    counts = np.maximum(np.ceil((upper - lower) / spacing).astype(int), 1)
    x, y = (np.linspace(lower[k], upper[k], counts[k] + 1) for k in (0, 1))
    points = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    number = np.arange(len(points)).reshape(counts + 1)
    a, b, c, d = (
        number[i : counts[0] + i, j : counts[1] + j].ravel() for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))
    )
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    value = function(points)
    inside = value[triangles] < 0
    lone = inside.sum(1) % 3 > 0
    triangles, inside = triangles[lone], inside[lone]
    # turned so that the first corner is alone on its side
    first = np.where(inside.sum(1) == 1, inside.argmax(1), inside.argmin(1))
    apex, next_, last = (triangles[np.arange(len(triangles)), (first + k) % 3] for k in range(3))
    ends = np.stack([np.stack([apex, next_], axis=1), np.stack([apex, last], axis=1)], axis=1)
    ends[inside.sum(1) == 2] = ends[inside.sum(1) == 2][:, ::-1]
    crossings, index = _crossings(points, value, ends.reshape(-1, 2))
    start, end = index.reshape(-1, 2).T
    following = np.empty(len(crossings), dtype=int)
    following[start] = end
    return [crossings[cycle] for cycle in _cycles(following)]


def isosurface(function: Function, lower: np.ndarray, upper: np.ndarray, spacing: float) -> Surface:
    """Return the closed surface on which `function` of points (n, 3) vanishes, the negative side inside.

    The grid spans `lower` (3,) to `upper` (3,), where the function is positive on the border.
    """
    counts = np.maximum(np.ceil((upper - lower) / spacing).astype(int), 1)
    grid = box(tuple((upper - lower).tolist()), tuple(counts.tolist()))
    points = grid.vertices.numpy() + (lower + upper) / 2
    value = function(points)
    tets = grid.tets.numpy()
    n_inside = (value[tets] < 0).sum(1)
    crossed = (n_inside > 0) & (n_inside < 4)
    tets = tets[crossed]
    # corners inside first; an odd permutation mirrors the tet
    order = np.argsort(value[tets] >= 0, axis=1, kind="stable")
    odd = np.linalg.det(np.eye(4)[order]) < 0
    tets, n_inside = np.take_along_axis(tets, order, axis=1), n_inside[crossed]
    triangles = []
    for count, cuts in _CUTS.items():
        case = n_inside == count
        edges = tets[case][:, cuts]
        edges[odd[case]] = edges[odd[case]][:, :, ::-1]
        triangles.append(edges.reshape(-1, 3, 2))
    corners = np.concatenate(triangles)
    vertices, index = _crossings(points, value, corners.reshape(-1, 2))
    return Surface(torch.from_numpy(vertices), torch.from_numpy(index.reshape(-1, 3)))


_CUTS = {
    1: np.array([[(0, 1), (0, 2), (0, 3)]]),
    2: np.array([[(0, 2), (0, 3), (1, 3)], [(0, 2), (1, 3), (1, 2)]]),
    3: np.array([[(0, 3), (1, 3), (2, 3)]]),
}
"""Edges of a tet, as pairs of corners of which the first lie inside, that hold the corners of a triangle with
the inside behind it."""


def _crossings(points: np.ndarray, value: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the linear interpolant vanishes on each of `edges` (E, 2) once, and which one each is."""
    unique, index = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    a, b = unique.T
    share = (value[a] / (value[a] - value[b]))[:, None]
    return (1 - share) * points[a] + share * points[b], index.ravel()


def _cycles(following: np.ndarray) -> list[np.ndarray]:
    """Return the cycles of a permutation (n,)."""
    seen = np.zeros(len(following), dtype=bool)
    cycles = []
    for start in range(len(following)):
        cycle = []
        while not seen[start]:
            seen[start] = True
            cycle.append(start)
            start = int(following[start])  # noqa: PLW2901
        if cycle:
            cycles.append(np.array(cycle))
    return cycles

"""Level sets of a function sampled on a grid: closed curves in the plane, closed surfaces in space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..surface import Surface

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
    crossed, index = np.unique(np.sort(ends.reshape(-1, 2), axis=1), axis=0, return_inverse=True)
    low, high = value[crossed].T
    share = (low / (low - high))[:, None]
    crossings = (1 - share) * points[crossed[:, 0]] + share * points[crossed[:, 1]]
    start, end = index.reshape(-1, 2).T
    following = np.empty(len(crossings), dtype=int)
    following[start] = end
    return [crossings[cycle] for cycle in _cycles(following)]


def isosurface(function: Function, lower: np.ndarray, upper: np.ndarray, spacing: float) -> Surface:
    """Return the closed surface on which `function` of points (n, 3) vanishes, the negative side inside.

    Surface nets: a vertex in each cell of a grid that the surface crosses, amid its crossings with the edges
    of the cell, and a quadrilateral around each edge that it crosses, cut along its shorter diagonal (Gibson,
    MICCAI 1998, LNCS 1496, 888). Where only a diagonal of a square of the grid is inside, the square's other
    two corners count as inside too, so that no more than two triangles meet in an edge. The grid spans
    `lower` (3,) to `upper` (3,), where the function is positive on the border.
    """
    counts = np.maximum(np.ceil((upper - lower) / spacing).astype(int), 1)
    axes = [np.linspace(lower[k], upper[k], counts[k] + 1) for k in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    value = _without_pinches(function(points.reshape(-1, 3)).reshape(counts + 1))
    quads, crossings = [], []
    for axis in range(3):
        low, high = (np.delete(value, end, axis) for end in (-1, 0))
        places = np.argwhere((low < 0) != (high < 0))
        step = np.eye(3, dtype=int)
        a, b = value[tuple(places.T)], value[tuple((places + step[axis]).T)]
        crossings.append(lower + (places + (a / (a - b))[:, None] * step[axis]) * ((upper - lower) / counts))
        right, up = step[(axis + 1) % 3], step[(axis + 2) % 3]
        around = places[:, None] - np.array([right + up, up, 0 * up, right])
        around[a >= 0] = around[a >= 0][:, ::-1]
        quads.append(np.ravel_multi_index(tuple(np.moveaxis(around, 2, 0)), tuple(counts)))
    cells, corner = np.unique(np.concatenate(quads), return_inverse=True)
    corner = corner.reshape(-1, 4)
    crossing = np.repeat(np.concatenate(crossings), 4, axis=0)
    total = np.stack([np.bincount(corner.ravel(), crossing[:, k], len(cells)) for k in range(3)], axis=1)
    vertices = total / np.bincount(corner.ravel(), minlength=len(cells))[:, None]
    first, second = (
        np.linalg.norm(vertices[corner[:, i]] - vertices[corner[:, i + 2]], axis=1) for i in (0, 1)
    )
    corner[first > second] = np.roll(corner[first > second], 1, axis=1)
    triangles = np.concatenate([corner[:, [0, 1, 2]], corner[:, [0, 2, 3]]])
    return Surface(torch.from_numpy(vertices), torch.from_numpy(triangles))


def _without_pinches(value: np.ndarray) -> np.ndarray:
    """Return `value` (nx, ny, nz) made negative in squares of which one diagonal is negative."""
    inside = value < 0
    while True:
        filled = inside.copy()
        for axis in range(3):
            before, after = np.moveaxis(inside, axis, 0), np.moveaxis(filled, axis, 0)
            squares = [(slice(None), slice(i, i - 1 or None), slice(j, j - 1 or None)) for i, j in _SQUARE]
            a, b, c, d = (before[square] for square in squares)
            pinched = (a == c) & (b == d) & (a != b)
            for square in squares:
                after[square] |= pinched
        if (filled == inside).all():
            break
        inside = filled
    smallest = np.finfo(float).tiny
    return np.where(inside & (value >= 0), -np.maximum(value, smallest), value)


_SQUARE = ((0, 0), (1, 0), (1, 1), (0, 1))
"""Corners of a square in turn."""


def _cycles(following: np.ndarray) -> list[np.ndarray]:
    """Return the cycles of a permutation (n,)."""
    seen = np.zeros(len(following), dtype=bool)
    cycles = []
    for first in range(len(following)):
        cycle, place = [], first
        while not seen[place]:
            seen[place] = True
            cycle.append(place)
            place = following[place]
        if cycle:
            cycles.append(np.array(cycle))
    return cycles

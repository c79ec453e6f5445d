"""Euler's streamlines of `MaximumDirection` and `EuDX`, grown one by one on all cores.

What `dipy.py` does for thousands of streamlines at once, here for one at a time, compiled: without the
arrays between operations it takes a fraction of the time. Positions are voxel coordinates until the end, as
in DIPY.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from numba import njit

MAXIMUM, PEAKS = 0, 1

_SEEDS_TOGETHER = 256
"""Seeds of a block, each with room for the longest streamline: 30 MB where that has 2 500 points."""


class Tables(NamedTuple):
    """A field, made ready.

    Attributes
    ----------
    kind : int
        `MAXIMUM` or `PEAKS`.
    image : (V, C) float64 array
        Coefficients, or K peaks in the axes of the image, zero where they do not count.
    shape : (3,) int64 array
        Voxels along each axis.
    vertices : (3, N) float64 array
        Directions in the axes of the image; N = 0 for `PEAKS`.
    basis : (C, N) float64 array
        Harmonics there.
    cosine : float
        Of the largest angle to the last direction.
    least : float
        Smallest amplitude, as a fraction of the largest, or least sum of weights.
    stride : (3,) float64 array
        Length of a step over the sizes of a voxel.
    """

    kind: int
    image: np.ndarray
    shape: np.ndarray
    vertices: np.ndarray
    basis: np.ndarray
    cosine: float
    least: float
    stride: np.ndarray


class Stop(NamedTuple):
    """Streamlines go on where `image` (V,) is above `threshold`, at the `nearest` voxel or interpolated."""

    image: np.ndarray
    threshold: float
    nearest: bool


class _Work(NamedTuple):
    """Room for what is computed at a position: eight voxels, coefficients and amplitudes."""

    rows: np.ndarray
    weights: np.ndarray
    coefficients: np.ndarray
    amplitudes: np.ndarray


def grow(
    tables: Tables, stop: Stop, starts: np.ndarray, *, fewest: int, most: int, threads: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points of streamlines, laid end to end, and for each seed how many come before and after it.

    Parameters
    ----------
    tables, stop
        What to follow and where to end.
    starts : (S, 2, 3) float64 array
        Voxel coordinates of seeds; unit vectors in the axes of the image.
    fewest, most : int
        Points of a streamline; others leave their numbers only. A half has two less than `most`.
    threads : int
        How many blocks of seeds grow at the same time.
    """
    steps = max(most - 2, 0)
    counts = np.zeros((len(starts), 2), dtype=np.int64)

    def grow_block(begin: int) -> list[np.ndarray]:
        part = slice(begin, begin + _SEEDS_TOGETHER)
        room = np.empty((len(starts[part]), 2 * steps + 1, 3))
        _grow(tables, stop, starts[part], room, counts[part])
        total = counts[part].sum(1) + 1
        return [
            room[seed, steps - counts[begin + seed, 0] : steps + counts[begin + seed, 1] + 1].copy()
            for seed in np.flatnonzero((total >= fewest) & (total <= most))
        ]

    with ThreadPoolExecutor(threads) as pool:
        pieces = list(pool.map(grow_block, range(0, len(starts), _SEEDS_TOGETHER)))
    return np.concatenate([np.empty((0, 3)), *chain.from_iterable(pieces)]), counts[:, 0], counts[:, 1]


@njit(cache=True, nogil=True)
def _grow(tables: Tables, stop: Stop, starts: np.ndarray, room: np.ndarray, counts: np.ndarray) -> None:
    middle = room.shape[1] // 2
    for s in range(len(starts)):
        points, last = room[s], starts[s, 1].copy()
        points[middle] = starts[s, 0]
        after = _half(tables, stop, points, last, 1)
        last[:] = starts[s, 1]
        if after:
            length = 0.0
            for i in range(3):
                last[i] = points[middle + 1, i] - points[middle, i]
                length += last[i] * last[i]
            last /= math.sqrt(length)
        last *= -1.0
        counts[s, 0] = _half(tables, stop, points, last, -1)
        counts[s, 1] = after


@njit(cache=True)
def _half(tables: Tables, stop: Stop, points: np.ndarray, last: np.ndarray, sign: int) -> int:
    """Fill the rows of `points` before or after the middle one; return how many."""
    middle = len(points) // 2
    work = _Work(
        np.empty(8, np.int64),
        np.empty(8),
        np.empty(tables.image.shape[1]),
        np.empty(tables.vertices.shape[1]),
    )
    for level in range(middle):
        here = points[middle + sign * level]
        if tables.kind == MAXIMUM:
            found = _maximum(tables, here, last, work)
        else:
            found = _peaks(tables, here, last, work)
        if not found:
            return level
        there = points[middle + sign * (level + 1)]
        for i in range(3):
            there[i] = here[i] + last[i] * tables.stride[i]
        if not _goes_on(stop, tables.shape, there, work):
            return level
    return middle


@njit(cache=True)
def _maximum(tables: Tables, here: np.ndarray, last: np.ndarray, work: _Work) -> bool:
    """Turn `last` to the vertex of the largest amplitude within the cone about it."""
    if not _within(tables.shape, here):
        return False
    rows, weights = work.rows, work.weights
    coefficients, amplitudes = work.coefficients, work.amplitudes
    _corners(tables.shape, here, True, rows, weights)
    coefficients[:] = 0.0
    for corner in range(8):
        row, weight = tables.image[rows[corner]], weights[corner]
        for j in range(len(coefficients)):
            coefficients[j] += weight * row[j]
    amplitudes[:] = 0.0
    for j in range(len(coefficients)):
        row_of_basis, coefficient = tables.basis[j], coefficients[j]
        for k in range(len(amplitudes)):
            amplitudes[k] += row_of_basis[k] * coefficient
    largest, best, most, side = 0.0, -1, 0.0, 1.0
    for k in range(len(amplitudes)):
        largest = max(largest, amplitudes[k])
        if amplitudes[k] > most:
            x, y, z = tables.vertices[0, k], tables.vertices[1, k], tables.vertices[2, k]
            along = x * last[0] + y * last[1] + z * last[2]
            if abs(along) > tables.cosine:
                best, most, side = k, amplitudes[k], math.copysign(1.0, along)
    if best < 0 or most < tables.least * largest:
        return False
    for i in range(3):
        last[i] = side * tables.vertices[i, best]
    return True


@njit(cache=True)
def _peaks(tables: Tables, here: np.ndarray, last: np.ndarray, work: _Work) -> bool:
    """Turn `last` to the mean of the peaks around that are closest to it."""
    rows, weights = work.rows, work.weights
    _corners(tables.shape, here, False, rows, weights)
    total, x, y, z = 0.0, 0.0, 0.0, 0.0
    for corner in range(8):
        peaks = tables.image[rows[corner]]
        closest, best = 0.0, 0
        for k in range(0, len(peaks), 3):
            along = peaks[k] * last[0] + peaks[k + 1] * last[1] + peaks[k + 2] * last[2]
            if abs(along) > abs(closest):
                closest, best = along, k
        if closest == 0.0 or abs(closest) < tables.cosine:
            continue
        total += weights[corner]
        signed = math.copysign(weights[corner], closest)
        x += signed * peaks[best]
        y += signed * peaks[best + 1]
        z += signed * peaks[best + 2]
    length = math.sqrt(x * x + y * y + z * z)
    if total < tables.least or length == 0.0:
        return False
    last[0], last[1], last[2] = x / length, y / length, z / length
    return True


@njit(cache=True)
def _goes_on(stop: Stop, shape: np.ndarray, here: np.ndarray, work: _Work) -> bool:
    if stop.nearest:
        x, y, z = round(here[0]), round(here[1]), round(here[2])
        if min(x, y, z) < 0 or x >= shape[0] or y >= shape[1] or z >= shape[2]:
            return False
        return bool(stop.image[(x * shape[1] + y) * shape[2] + z] > stop.threshold)
    if not _within(shape, here):
        return False
    rows, weights = work.rows, work.weights
    _corners(shape, here, True, rows, weights)
    value = 0.0
    for corner in range(8):
        value += weights[corner] * stop.image[rows[corner]]
    return bool(value > stop.threshold)


@njit(cache=True)
def _within(shape: np.ndarray, here: np.ndarray) -> bool:
    inside = True
    for i in range(3):
        inside = inside and here[i] >= -0.5 and here[i] < shape[i] - 0.5
    return inside


@njit(cache=True, inline="always")
def _axis(x: float, size: int, extend: bool) -> tuple[int, int, float, float]:
    """Return the voxels on both sides and their weights; outside, the image `extend`s or weighs nothing."""
    lower = math.floor(x)
    low, high = int(lower), int(lower) + 1
    above = x - lower
    below = 1.0 - above
    if low < 0:
        low, below = 0, below if extend else 0.0
    if high < 0:
        high, above = 0, above if extend else 0.0
    if low >= size:
        low, below = size - 1, below if extend else 0.0
    if high >= size:
        high, above = size - 1, above if extend else 0.0
    return low, high, below, above


@njit(cache=True)
def _corners(
    shape: np.ndarray, here: np.ndarray, extend: bool, rows: np.ndarray, weights: np.ndarray
) -> None:
    """Fill the rows (8,) and weights (8,) of the voxels around a position."""
    x0, x1, u0, u1 = _axis(here[0], shape[0], extend)
    y0, y1, v0, v1 = _axis(here[1], shape[1], extend)
    z0, z1, w0, w1 = _axis(here[2], shape[2], extend)
    corner = 0
    for x, u in ((x0, u0), (x1, u1)):
        for y, v in ((y0, v0), (y1, v1)):
            row = (x * shape[1] + y) * shape[2]
            rows[corner], weights[corner] = row + z0, u * v * w0
            rows[corner + 1], weights[corner + 1] = row + z1, u * v * w1
            corner += 2

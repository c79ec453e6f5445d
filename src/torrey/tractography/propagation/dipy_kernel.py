"""Euler's streamlines of `MaximumDirection` and `EuDX`, grown one by one on all cores.

What `dipy.py` does for thousands of streamlines at once, here for one at a time, compiled: without the arrays between
operations it takes a fraction of the time. Positions are voxel coordinates until the end, as in DIPY.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

MAXIMUM, PEAKS = 0, 1

_BLOCK_BYTES = 2**26
"""What the points of the seeds that grow together may take, each with room for the longest streamline."""


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
    """

    kind: int
    image: np.ndarray
    shape: np.ndarray
    vertices: np.ndarray
    basis: np.ndarray
    cosine: float
    least: float


class Stop(NamedTuple):
    """Streamlines go on where `image` (V,) is above `threshold`, at the `nearest` voxel or interpolated."""

    image: np.ndarray
    threshold: float
    nearest: bool


def grow(
    tables: Tables,
    stop: Stop,
    seeds: np.ndarray,
    directions: np.ndarray,
    stride: np.ndarray,
    *,
    fewest: int,
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the points of streamlines, laid end to end, and for each seed how many come before and after it.

    Parameters
    ----------
    tables, stop
        What to follow and where to stop.
    seeds, directions : (S, 3) float64 array
        Voxel coordinates; unit vectors in the axes of the image.
    stride : (3,) float64 array
        Length of a step over the sizes of a voxel.
    fewest, most : int
        Points of a streamline; others leave their numbers only. A half has two less than `most`.
    """
    steps = max(most - 2, 0)
    block = max(1, _BLOCK_BYTES // (24 * (2 * steps + 1)))
    room = np.empty((min(block, len(seeds)), 2 * steps + 1, 3))
    counts = np.zeros((len(seeds), 2), dtype=np.int64)
    pieces = [np.empty((0, 3))]
    for begin in range(0, len(seeds), block):
        part = slice(begin, begin + block)
        _grow(tables, stop, seeds[part], directions[part], stride, room, counts[part])
        for points, (before, after) in zip(room, counts[part], strict=False):
            if fewest <= before + after + 1 <= most:
                pieces.append(points[steps - before : steps + after + 1].copy())
    return np.concatenate(pieces), counts[:, 0], counts[:, 1]


@njit(cache=True, parallel=True)
def _grow(
    tables: Tables,
    stop: Stop,
    seeds: np.ndarray,
    directions: np.ndarray,
    stride: np.ndarray,
    room: np.ndarray,
    counts: np.ndarray,
) -> None:
    for s in prange(len(seeds)):  # type: ignore[attr-defined]
        most = room.shape[1] // 2
        points, last = room[s], directions[s].copy()
        points[most] = seeds[s]
        after = _half(tables, stop, points, last, stride, 1)
        last[:] = directions[s]
        if after:
            length = 0.0
            for i in range(3):
                last[i] = points[most + 1, i] - points[most, i]
                length += last[i] * last[i]
            last /= math.sqrt(length)
        last *= -1.0
        counts[s, 0] = _half(tables, stop, points, last, stride, -1)
        counts[s, 1] = after


@njit(cache=True)
def _half(
    tables: Tables, stop: Stop, points: np.ndarray, last: np.ndarray, stride: np.ndarray, sign: int
) -> int:
    """Fill the rows of `points` before or after the middle one; return how many."""
    middle = points.shape[0] // 2
    coefficients = np.empty(tables.image.shape[1])
    amplitudes = np.empty(tables.vertices.shape[1])
    for level in range(middle):
        here = points[middle + sign * level]
        if tables.kind == MAXIMUM:
            found = _maximum(tables, here, last, coefficients, amplitudes)
        else:
            found = _peaks(tables, here, last)
        if not found:
            return level
        there = points[middle + sign * (level + 1)]
        for i in range(3):
            there[i] = here[i] + last[i] * stride[i]
        if not _goes_on(stop, tables.shape, there):
            return level
    return middle


@njit(cache=True)
def _maximum(
    tables: Tables, here: np.ndarray, last: np.ndarray, coefficients: np.ndarray, amplitudes: np.ndarray
) -> bool:
    """Turn `last` to the vertex of the largest amplitude within the cone about it."""
    if not _within(tables.shape, here):
        return False
    coefficients[:] = 0.0
    for corner in range(8):
        row, weight = _corner(tables.shape, here, corner, True)
        for j in range(len(coefficients)):
            coefficients[j] += weight * tables.image[row, j]
    amplitudes[:] = 0.0
    for j in range(len(coefficients)):
        for k in range(len(amplitudes)):
            amplitudes[k] += tables.basis[j, k] * coefficients[j]
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
def _peaks(tables: Tables, here: np.ndarray, last: np.ndarray) -> bool:
    """Turn `last` to the mean of the peaks around that are closest to it."""
    total, x, y, z = 0.0, 0.0, 0.0, 0.0
    for corner in range(8):
        row, weight = _corner(tables.shape, here, corner, False)
        closest, best = 0.0, 0
        for k in range(0, tables.image.shape[1], 3):
            peak = tables.image[row, k : k + 3]
            along = peak[0] * last[0] + peak[1] * last[1] + peak[2] * last[2]
            if abs(along) > abs(closest):
                closest, best = along, k
        if closest == 0.0 or abs(closest) < tables.cosine:
            continue
        total += weight
        signed = math.copysign(weight, closest)
        x += signed * tables.image[row, best]
        y += signed * tables.image[row, best + 1]
        z += signed * tables.image[row, best + 2]
    length = math.sqrt(x * x + y * y + z * z)
    if total < tables.least or length == 0.0:
        return False
    last[0], last[1], last[2] = x / length, y / length, z / length
    return True


@njit(cache=True)
def _goes_on(stop: Stop, shape: np.ndarray, here: np.ndarray) -> bool:
    if stop.nearest:
        x, y, z = round(here[0]), round(here[1]), round(here[2])
        if min(x, y, z) < 0 or x >= shape[0] or y >= shape[1] or z >= shape[2]:
            return False
        return bool(stop.image[(x * shape[1] + y) * shape[2] + z] > stop.threshold)
    if not _within(shape, here):
        return False
    value = 0.0
    for corner in range(8):
        row, weight = _corner(shape, here, corner, True)
        value += weight * stop.image[row]
    return bool(value > stop.threshold)


@njit(cache=True)
def _within(shape: np.ndarray, here: np.ndarray) -> bool:
    for i in range(3):
        if not (here[i] >= -0.5 and here[i] < shape[i] - 0.5):
            return False
    return True


@njit(cache=True)
def _corner(shape: np.ndarray, here: np.ndarray, corner: int, extend: bool) -> tuple[int, float]:
    """Return row and weight of one of eight voxels; outside, the image goes on (`extend`) or weighs nothing."""
    row, weight = 0, 1.0
    for i in range(3):
        lower = math.floor(here[i])
        upper = here[i] - lower
        index = int(lower)
        if (corner >> (2 - i)) & 1:
            index += 1
            weight *= upper
        else:
            weight *= 1.0 - upper
        inside = min(max(index, 0), shape[i] - 1)
        if inside != index and not extend:
            weight = 0.0
        row = row * shape[i] + inside
    return row, weight

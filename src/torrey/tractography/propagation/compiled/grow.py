"""Streamlines along peaks, grown one by one on all cores: MRtrix's SD_STREAM with its rules of stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import torch
from numba import njit, prange

from .image import PolynomialImage, interpolate
from .peak import Vector, climb, sharp_climb, unit
from .regions import INCLUDE, Regions, judge, lay_regions
from .unrolled import kernel

_BLOCK_BYTES = 2**26
"""What the points of the seeds that grow together may take, each with room for the longest streamline."""

_MOST_TOGETHER = 8192


GrowBlock = Callable[[int, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Settings(NamedTuple):
    """How to step and when to stop; lengths in mm.

    Attributes
    ----------
    step : float
        Length of a step.
    cosine : float
        Least cosine of the angle between steps.
    cutoff : float
        Least amplitude.
    most_points, least_points : int
        A streamline stops at the first, both halves together, and is kept from the second on.
    unidirectional : bool
        Whether to grow to one side of the seed only.
    rk4 : bool
        The fourth-order method of MRtrix in place of Euler's.
    sharpen : bool
        Whether to go to the peaks themselves.
    """

    step: float
    cosine: float
    cutoff: float
    most_points: int
    least_points: int
    unidirectional: bool
    rk4: bool
    sharpen: bool


class Grown(NamedTuple):
    """Streamlines laid end to end, in the order of their seeds.

    Attributes
    ----------
    points : (P, 3) float64 array
        mm.
    offsets : (S + 1,) int64 array
        Where each streamline begins.
    seed_rows : (S,) int64 array
        Row of `points` that is the seed: steps lead away from it, to both sides.
    seed_indices : (S,) int64 array
        Which seed it is.
    seed_directions : (S, 3) float64 array
        Unit vectors at the seeds, in which the first half grew.
    """

    points: np.ndarray
    offsets: np.ndarray
    seed_rows: np.ndarray
    seed_indices: np.ndarray
    seed_directions: np.ndarray


@kernel
def shifted(p: Vector, length: float, d: Vector) -> Vector:
    """Return p + length · d."""
    return p[0] + length * d[0], p[1] + length * d[1], p[2] + length * d[2]


@kernel
def heading(
    image: PolynomialImage, sharpen: bool, p: Vector, reference: Vector, scratch: np.ndarray
) -> tuple[float, Vector]:
    """Return the amplitude and the direction of the peak at `p` nearest to `reference`; NaN if none."""
    if not interpolate(image, p[0], p[1], p[2], scratch):
        return math.nan, reference
    if sharpen:
        found, amplitude, direction = sharp_climb(scratch, image.degree, reference)
    else:
        found, amplitude, direction = climb(scratch, image.degree, image.elevations, reference)
    if not found:
        return math.nan, reference
    return amplitude, direction


@kernel
def _cosine(u: Vector, v: Vector) -> float:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@kernel
def mean_direction(k1: Vector, k2: Vector, k3: Vector, k4: Vector) -> Vector:
    """Return k1 + 2 k2 + 2 k3 + k4, of unit length, so that a step is as long as asked."""
    return unit(
        k1[0] + 2.0 * (k2[0] + k3[0]) + k4[0],
        k1[1] + 2.0 * (k2[1] + k3[1]) + k4[1],
        k1[2] + 2.0 * (k2[2] + k3[2]) + k4[2],
    )


@kernel
def _euler(
    image: PolynomialImage, settings: Settings, p: Vector, d: Vector, scratch: np.ndarray
) -> tuple[bool, Vector, Vector]:
    """Return whether a step from `p`, reached along `d`, is possible, where it ends and its direction."""
    amplitude, new = heading(image, settings.sharpen, p, d, scratch)
    if not amplitude >= settings.cutoff or _cosine(d, new) < settings.cosine:
        return False, p, d
    return True, shifted(p, settings.step, new), new


@kernel
def _rk4(
    image: PolynomialImage, settings: Settings, p: Vector, d: Vector, scratch: np.ndarray
) -> tuple[bool, Vector, Vector]:
    """As `_euler`. The angle is that from the first stage to the direction at the end."""
    step, cutoff = settings.step, settings.cutoff
    a1, k1 = heading(image, settings.sharpen, p, d, scratch)
    if not a1 >= cutoff:
        return False, p, d
    a2, k2 = heading(image, settings.sharpen, shifted(p, 0.5 * step, k1), d, scratch)
    if not a2 >= cutoff:
        return False, p, d
    a3, k3 = heading(image, settings.sharpen, shifted(p, 0.5 * step, k2), d, scratch)
    if not a3 >= cutoff:
        return False, p, d
    between = unit(k2[0] + k3[0], k2[1] + k3[1], k2[2] + k3[2])
    a4, k4 = heading(image, settings.sharpen, shifted(p, step, k3), between, scratch)
    if not a4 >= cutoff:
        return False, p, d
    new = mean_direction(k1, k2, k3, k4)
    end = shifted(p, step, new)
    a5, k5 = heading(image, settings.sharpen, end, new, scratch)
    if not a5 >= cutoff or _cosine(k1, k5) < settings.cosine:
        return False, p, d
    return True, end, new


@kernel
def append(
    regions: Regions, p: Vector, visited: int, line: np.ndarray, count: int, most_points: int
) -> tuple[bool, int, int, bool]:
    """Append `p` to `line`; return whether that goes on, its new count, visits, and whether to reject it.

    A point that the mask does not admit is left out.
    """
    admitted, excluded, visited_then = judge(regions, p[0], p[1], p[2], visited)
    if not admitted:
        return False, count, visited, False
    line[count, 0], line[count, 1], line[count, 2] = p
    if excluded:
        return False, count + 1, visited, True
    return count + 1 < most_points, count + 1, visited_then, False


@kernel
def _grow_half(
    image: PolynomialImage,
    regions: Regions,
    settings: Settings,
    d: Vector,
    visited: int,
    line: np.ndarray,
    count: int,
    scratch: np.ndarray,
) -> tuple[int, int, bool]:
    """Append points to `line`, which has `count`; return the new count, visits, and whether to reject it."""
    p = line[count - 1, 0], line[count - 1, 1], line[count - 1, 2]
    while True:
        if settings.rk4:
            went, p, d = _rk4(image, settings, p, d, scratch)
        else:
            went, p, d = _euler(image, settings, p, d, scratch)
        if not went:
            return count, visited, False
        goes_on, count, visited, rejected = append(regions, p, visited, line, count, settings.most_points)
        if not goes_on:
            return count, visited, rejected


@kernel
def turn_round(line: np.ndarray, count: int) -> None:
    """Reverse the first `count` points of `line` (n, 3)."""
    for i in range(count // 2):
        j = count - 1 - i
        for axis in range(3):
            line[i, axis], line[j, axis] = line[j, axis], line[i, axis]


@kernel
def _grow_one(
    image: PolynomialImage,
    regions: Regions,
    settings: Settings,
    seed: Vector,
    towards: Vector,
    line: np.ndarray,
) -> tuple[int, int, Vector]:
    """Write a streamline to `line`; return its number of points, 0 if rejected, the seed's row, and d."""
    scratch = np.empty(image.values.shape[1], image.values.dtype)
    admitted, excluded, visited = judge(regions, seed[0], seed[1], seed[2], 0)
    if excluded or not admitted:
        return 0, 0, towards
    amplitude, direction = heading(image, settings.sharpen, seed, towards, scratch)
    if not amplitude >= settings.cutoff:
        return 0, 0, towards
    line[0, 0], line[0, 1], line[0, 2] = seed
    count, visited, rejected = _grow_half(image, regions, settings, direction, visited, line, 1, scratch)
    row = 0
    if not settings.unidirectional and not rejected:
        row = count - 1
        turn_round(line, count)
        back = -direction[0], -direction[1], -direction[2]
        count, visited, rejected = _grow_half(image, regions, settings, back, visited, line, count, scratch)
    n_included = (regions.kinds == INCLUDE).sum()
    if rejected or visited != 2**n_included - 1 or count < settings.least_points:
        return 0, 0, towards
    return count, row, direction


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _grow_block(
    image: PolynomialImage,
    regions: Regions,
    settings: Settings,
    seeds: np.ndarray,
    directions: np.ndarray,
    lines: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write streamline s to lines[s]; return counts, 0 where rejected, rows of seeds, directions there."""
    n = seeds.shape[0]
    counts, rows, started = np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, 3))
    for s in prange(n):
        seed = seeds[s, 0], seeds[s, 1], seeds[s, 2]
        towards = unit(directions[s, 0], directions[s, 1], directions[s, 2])
        counts[s], rows[s], direction = _grow_one(image, regions, settings, seed, towards, lines[s])
        started[s, 0], started[s, 1], started[s, 2] = direction
    return counts, rows, started


def share_threads() -> None:
    """Give the kernels as many threads as PyTorch has."""
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]


def in_blocks(
    seeds: np.ndarray,
    directions: np.ndarray,
    most_points: int,
    grow_block: GrowBlock,
    progress: Callable[[int], None] | None,
) -> Grown:
    """Return what `grow_block` makes of some thousand seeds at a time, laid end to end.

    It gets the number of the first seed, the seeds, their directions, and lines (n, room, 3) to write to; it
    returns counts, 0 where a streamline is rejected, rows of seeds, and directions there.
    """
    share_threads()
    room = max(most_points, 2) + 1
    together = min(max(_BLOCK_BYTES // (24 * room), 64), _MOST_TOGETHER, max(len(seeds), 1))
    lines = np.empty((together, room, 3))
    blocks: list[tuple[np.ndarray, ...]] = []
    for begin in range(0, len(seeds), together):
        part = slice(begin, begin + together)
        counts, rows, started = grow_block(begin, np.ascontiguousarray(seeds[part]), directions[part], lines)
        kept = np.flatnonzero(counts)
        filled = np.arange(room) < counts[:, None]
        blocks.append((lines[: len(counts)][filled], counts[kept], rows[kept], kept + begin, started[kept]))
        if progress is not None:
            progress(min(begin + together, len(seeds)))
    none, nowhere = np.empty(0, np.int64), np.empty((0, 3))
    blocks.append((nowhere, none, none, none, nowhere))
    points, counts, rows, indices, started = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Grown(points, offsets, offsets[:-1] + rows, indices, started)


def grow(
    image: PolynomialImage,
    seeds: np.ndarray,
    directions: np.ndarray,
    settings: Settings,
    *,
    regions: Regions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Grown:
    """Grow a streamline from each of `seeds` (S, 3) towards `directions` (S, 3); return those that are kept.

    The first half comes out reversed, so that a streamline runs through its seed, unless it is the only one.
    The result does not depend on the number of threads, which is PyTorch's. `progress` is called with the
    number of seeds done after each block of some thousands.
    """
    laid = lay_regions() if regions is None else regions
    return in_blocks(
        seeds,
        directions,
        settings.most_points,
        lambda _, *part: _grow_block(image, laid, settings, *part),
        progress,
    )

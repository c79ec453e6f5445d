"""Streamlines along drawn directions, grown one by one on all cores: MRtrix's iFOD1.

Every random number is a function of the seed of the run, the number of the streamline, which half of it, how
many points it has, and the trial, so nothing depends on the order in which streamlines grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from .grow import Grown, append, in_blocks, shifted, turn_round
from .image import PolynomialImage, interpolate
from .peak import Vector, tangent_frame, unit
from .philox import fraction, philox
from .regions import INCLUDE, Regions, judge, lay_regions
from .unrolled import kernel, value

_RING = 1.05
"""Distance of the rings of a `Cone`, in radians times the degree: 7.5° at degree 8."""

_REACH = 0.73
"""No direction of the cone is farther from all of its pattern than this share of the distance of rings."""


_SECOND_HALF = 2**31
"""Added to the number of points in the counter, so that both halves draw numbers of their own."""


class Cone(NamedTuple):
    """The directions within an angle of an axis.

    Attributes
    ----------
    cosine : float
        Of the angle.
    pattern : (3, n) float64 array
        Directions that cover it: components along the tangent frame and the axis.
    margin : float
        What the largest amplitude of the pattern is multiplied with to bound that of the cone.
    """

    cosine: float
    pattern: np.ndarray
    margin: float


class Drawing(NamedTuple):
    """How to draw and when to stop; lengths in mm.

    Attributes
    ----------
    step : float
        Length of a step.
    cutoff : float
        Least amplitude of a direction.
    power : float
        Directions are drawn in proportion to this power of the amplitude.
    trials, seed_trials : int
        Candidates for a step and for the first direction, after which none counts as found.
    most_points, least_points : int
        A streamline stops at the first, both halves together, and is kept from the second on.
    unidirectional : bool
        Whether to grow to one side of the seed only.
    key : int
        The seed of the run, from 0 to 2⁶³ − 1.
    first : int
        Number of the first streamline.
    """

    step: float
    cutoff: float
    power: float
    trials: int
    seed_trials: int
    most_points: int
    least_points: int
    unidirectional: bool
    key: int
    first: int


def cone_of(angle: float, degree: int) -> Cone:
    """Return the cone of an angle in radians, with rings of directions that are dense enough for a degree.

    A polynomial of degree L with values in [0, M] on a great circle is at least M cos²(Lδ/2) at the angle δ
    from where it is M (M. Riesz): the margin is the inverse of that.
    """
    n_rings = math.ceil(angle * degree / _RING)
    distance = angle / n_rings
    polar, azimuth = [0.0], [0.0]
    for ring in range(1, n_rings + 1):
        polar += [ring * distance] * (6 * ring)
        azimuth += [2 * math.pi * k / (6 * ring) for k in range(6 * ring)]
    sines = np.sin(polar)
    pattern = np.stack([sines * np.cos(azimuth), sines * np.sin(azimuth), np.cos(polar)])
    return Cone(math.cos(angle), pattern, 1 / math.cos(degree * _REACH * distance / 2) ** 2)


@kernel
def _largest(
    coefficients: np.ndarray, degree: int, pattern: np.ndarray, d: Vector, values: np.ndarray
) -> float:
    """Return the largest value of a polynomial at the directions of a pattern (3, n) about `d`."""
    e, f = tangent_frame(d)
    for i in range(pattern.shape[1]):
        a, b, c = pattern[0, i], pattern[1, i], pattern[2, i]
        values[i] = value(
            coefficients,
            degree,
            a * e[0] + b * f[0] + c * d[0],
            a * e[1] + b * f[1] + c * d[1],
            a * e[2] + b * f[2] + c * d[2],
        )
    largest = values[0]
    for i in range(1, values.shape[0]):
        largest = max(largest, values[i])
    return float(largest)


@kernel
def uniform_direction(axis: Vector, cosine: float, along: float, around: float) -> Vector:
    """Return the direction within the cone about `axis` that two numbers in (0, 1) name, areas kept."""
    e, f = tangent_frame(axis)
    c = 1.0 - along * (1.0 - cosine)
    s = math.sqrt(max(0.0, 1.0 - c * c))
    azimuth = 2.0 * math.pi * around
    a, b = s * math.cos(azimuth), s * math.sin(azimuth)
    return unit(
        a * e[0] + b * f[0] + c * axis[0],
        a * e[1] + b * f[1] + c * axis[1],
        a * e[2] + b * f[2] + c * axis[2],
    )


@kernel
def draw(
    coefficients: np.ndarray,
    degree: int,
    cone: Cone,
    drawing: Drawing,
    d: Vector,
    number: int,
    place: int,
    values: np.ndarray,
) -> tuple[bool, Vector]:
    """Return whether a direction was found in the cone about `d`, and it.

    It comes in proportion to a power of the polynomial, where that is not below the cutoff, by rejection.
    Random numbers are those of a `place` along the streamline `number`.
    """
    bound = cone.margin * _largest(coefficients, degree, cone.pattern, d, values)
    if not bound >= drawing.cutoff or bound <= 0.0:
        return False, d
    for trial in range(drawing.trials):
        u, v, w, _ = philox(number, number >> 32, place, trial, drawing.key, drawing.key >> 32)
        new = uniform_direction(d, cone.cosine, fraction(u), fraction(v))
        amplitude = value(coefficients, degree, new[0], new[1], new[2])
        if amplitude >= drawing.cutoff:
            chance = amplitude / bound
            if drawing.power != 1.0:
                chance = chance**drawing.power
            if fraction(w) < chance:
                return True, new
    return False, d


@kernel
def _first_direction(
    coefficients: np.ndarray, degree: int, drawing: Drawing, towards: Vector, number: int
) -> tuple[bool, Vector]:
    """Return whether a direction at a seed was found, and it: `towards`, or any if that is not a number.

    All above the cutoff are equally likely.
    """
    given = not math.isnan(towards[0])
    for trial in range(1 if given else drawing.seed_trials):
        d = towards
        if not given:
            u, v, _, _ = philox(number, number >> 32, 0, trial, drawing.key, drawing.key >> 32)
            d = uniform_direction((0.0, 0.0, 1.0), -1.0, fraction(u), fraction(v))
        if value(coefficients, degree, d[0], d[1], d[2]) >= drawing.cutoff:
            return True, d
    return False, towards


@kernel
def _draw_half(
    image: PolynomialImage,
    regions: Regions,
    cone: Cone,
    drawing: Drawing,
    d: Vector,
    number: int,
    half: int,
    visited: int,
    line: np.ndarray,
    count: int,
    scratch: np.ndarray,
    values: np.ndarray,
) -> tuple[int, int, bool]:
    """Append points to `line`, which has `count`; return the new count, visits, and whether to reject it."""
    p = line[count - 1, 0], line[count - 1, 1], line[count - 1, 2]
    while True:
        if not interpolate(image, p[0], p[1], p[2], scratch):
            return count, visited, False
        found, d = draw(scratch, image.degree, cone, drawing, d, number, half + count, values)
        if not found:
            return count, visited, False
        p = shifted(p, drawing.step, d)
        goes_on, count, visited, rejected = append(regions, p, visited, line, count, drawing.most_points)
        if not goes_on:
            return count, visited, rejected


@kernel
def _draw_one(
    image: PolynomialImage,
    regions: Regions,
    cone: Cone,
    drawing: Drawing,
    seed: Vector,
    towards: Vector,
    number: int,
    line: np.ndarray,
) -> tuple[int, int, Vector]:
    """Write a streamline to `line`; return its number of points, 0 if rejected, the seed's row, and d."""
    scratch = np.empty(image.values.shape[1], image.values.dtype)
    values = np.empty(cone.pattern.shape[1], image.values.dtype)
    admitted, excluded, visited = judge(regions, seed[0], seed[1], seed[2], 0)
    if excluded or not admitted or not interpolate(image, seed[0], seed[1], seed[2], scratch):
        return 0, 0, towards
    found, direction = _first_direction(scratch, image.degree, drawing, towards, number)
    if not found:
        return 0, 0, towards
    line[0, 0], line[0, 1], line[0, 2] = seed
    count, visited, rejected = _draw_half(
        image, regions, cone, drawing, direction, number, 0, visited, line, 1, scratch, values
    )
    row = 0
    if not drawing.unidirectional and not rejected:
        row = count - 1
        turn_round(line, count)
        back = -direction[0], -direction[1], -direction[2]
        count, visited, rejected = _draw_half(
            image, regions, cone, drawing, back, number, _SECOND_HALF, visited, line, count, scratch, values
        )
    n_included = (regions.kinds == INCLUDE).sum()
    if rejected or visited != 2**n_included - 1 or count < drawing.least_points:
        return 0, 0, towards
    return count, row, direction


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _draw_block(
    image: PolynomialImage,
    regions: Regions,
    cone: Cone,
    drawing: Drawing,
    begin: int,
    seeds: np.ndarray,
    directions: np.ndarray,
    lines: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write streamline s to lines[s]; return counts, 0 where rejected, rows of seeds, directions there."""
    n = seeds.shape[0]
    counts, rows, started = np.empty(n, np.int64), np.empty(n, np.int64), np.empty((n, 3))
    for s in prange(n):
        seed = seeds[s, 0], seeds[s, 1], seeds[s, 2]
        towards = directions[s, 0], directions[s, 1], directions[s, 2]
        number = drawing.first + begin + s
        counts[s], rows[s], direction = _draw_one(
            image, regions, cone, drawing, seed, towards, number, lines[s]
        )
        started[s, 0], started[s, 1], started[s, 2] = direction
    return counts, rows, started


def grow_drawn(
    image: PolynomialImage,
    seeds: np.ndarray,
    directions: np.ndarray,
    cone: Cone,
    drawing: Drawing,
    *,
    regions: Regions | None = None,
    progress: Callable[[int], None] | None = None,
) -> Grown:
    """Grow a streamline from each of `seeds` (S, 3); return those that are kept, as `grow` does.

    `directions` (S, 3) are unit vectors at the seeds, or not numbers for random ones.
    """
    laid = lay_regions() if regions is None else regions
    return in_blocks(
        seeds,
        directions,
        drawing.most_points,
        lambda begin, *part: _draw_block(image, laid, cone, drawing, begin, *part),
        progress,
    )

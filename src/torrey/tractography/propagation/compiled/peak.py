"""The peak of a polynomial on the sphere that is reached by ascent from a given direction.

With S = ∇²P at a unit vector x of a homogeneous polynomial of degree L, Euler's identity gives
∇P = S x/(L − 1) and P = x·∇P/L. On
the sphere the gradient is g = Π∇P and the Hessian H = ΠSΠ − (x·∇P) Π, with Π = 1 − xxᵀ.
"""

from __future__ import annotations

import math

import numpy as np

from .unrolled import around, kernel, second_derivatives

_MAX_ITERATIONS = 50  # MRtrix
_LONGEST_STEP = 0.2  # rad, MRtrix
_CONVERGED = 1e-4  # rad, MRtrix
_POLE = 1e-4  # sine of the elevation below which MRtrix leaves out derivatives in azimuth but the first
_SHARP = 1e-7  # rad in float64; Newton's last step, so what is left is of the order of its square
_NEWTON_BELOW = 0.1  # rad: well within the basin of a peak of degree 8, half as wide

Vector = tuple[float, float, float]


@kernel
def times(s: tuple, x: float, y: float, z: float) -> Vector:
    """Return the product of a symmetric matrix, as xx, yy, zz, xy, xz, yz, with a vector."""
    xx, yy, zz, xy, xz, yz = s
    return xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z


@kernel
def unit(a: float, b: float, c: float) -> Vector:
    """Return a vector divided by its length."""
    scale = 1.0 / math.sqrt(a * a + b * b + c * c)
    return a * scale, b * scale, c * scale


@kernel
def tangent_frame(x: Vector) -> tuple[Vector, Vector]:
    """Return unit vectors e, across an axis that is far from the unit vector `x`, and f = x × e."""
    a, b, c = x
    if abs(a) < 0.6:
        e0, e1, e2 = unit(0.0, c, -b)
    else:
        e0, e1, e2 = unit(-c, 0.0, a)
    return (e0, e1, e2), (b * e2 - c * e1, c * e0 - a * e2, a * e1 - b * e0)


@kernel
def tangent_system(s: tuple, degree: int, x: Vector, right: Vector) -> tuple:
    """Return a tangent frame e, f at `x`, H in it (ee, ef, ff), and `right` in it; `s` is ∇²P at `x`."""
    a, b, c = x
    p, q, r = times(s, a, b, c)
    radial = (p * a + q * b + r * c) / (degree - 1.0)
    (e0, e1, e2), (f0, f1, f2) = tangent_frame(x)
    p, q, r = times(s, e0, e1, e2)
    hee = e0 * p + e1 * q + e2 * r - radial
    hef = f0 * p + f1 * q + f2 * r
    p, q, r = times(s, f0, f1, f2)
    hff = f0 * p + f1 * q + f2 * r - radial
    along = e0 * right[0] + e1 * right[1] + e2 * right[2]
    across = f0 * right[0] + f1 * right[1] + f2 * right[2]
    return (e0, e1, e2), (f0, f1, f2), (hee, hef, hff), (along, across)


@kernel
def newton(s: tuple, degree: int, x: Vector, right: Vector) -> Vector:
    """Return −H⁻¹ Π `right`, a tangent at the unit vector `x` where the second derivatives are `s`.

    Where H is singular the answer is not finite.
    """
    e, f, (hee, hef, hff), (along, across) = tangent_system(s, degree, x, right)
    determinant = hee * hff - hef * hef
    u = (hef * across - hff * along) / determinant
    v = (hef * along - hee * across) / determinant
    return u * e[0] + v * f[0], u * e[1] + v * f[1], u * e[2] + v * f[2]


@kernel
def whole_step(s: tuple, degree: int, x: Vector, slope: Vector) -> tuple[float, float, float, float]:
    """Return Newton's step from `x` and its length, which is infinite where H is not negative definite."""
    _, _, (hee, hef, hff), _ = tangent_system(s, degree, x, slope)
    if not (hee < 0.0 and hee * hff > hef * hef):
        return 0.0, 0.0, 0.0, math.inf
    u, v, w = newton(s, degree, x, slope)
    return u, v, w, math.sqrt(u * u + v * v + w * w)


@kernel
def climb(
    coefficients: np.ndarray, degree: int, elevations: np.ndarray, start: Vector
) -> tuple[bool, float, Vector]:
    """Climb from the unit vector `start` as MRtrix does; return whether it ended, the value, and where.

    Steps go along u = g/|g| by |g| / |c|, at most 0.2 rad, until one is shorter than 1e-4 rad; the value is
    that before the last. The curvature c along u is made of derivatives in elevation θ and azimuth φ, without
    Christoffel symbols: it exceeds uᵀHu by |g| cot θ u_θ u_φ², which vanishes at a peak. Fifty steps are not
    enough for some flat or ridge-like functions: these count as without a peak.
    """
    x, y, z = start
    for _ in range(_MAX_ITERATIONS):
        radius = math.sqrt(x * x + y * y)
        value, t, tt, p, tp, pp = around(coefficients, degree, elevations, x, y, z)
        if radius < _POLE:
            p, tp, pp = tp, 0.0, 0.0
        else:
            p, tp, pp = p / radius, tp / radius, pp / (radius * radius)
        slope = math.sqrt(t * t + p * p)
        if not slope > 0.0:  # an exact peak, or NaN
            return slope == 0.0, value, (x, y, z)
        u, v = t / slope, p / slope
        curvature = u * u * tt + 2.0 * u * v * tp + v * v * pp
        length = min(abs(slope / curvature), _LONGEST_STEP) if curvature != 0.0 else 0.0
        cosine, sine = (x / radius, y / radius) if radius > 0.0 else (1.0, 0.0)
        u, v = length * u, length * v
        x, y, z = unit(x + u * cosine * z - v * sine, y + u * sine * z + v * cosine, z - u * radius)
        if length < _CONVERGED:
            return True, value, (x, y, z)
    return False, 0.0, (x, y, z)


@kernel
def sharp_climb(coefficients: np.ndarray, degree: int, start: Vector) -> tuple[bool, float, Vector]:
    """Climb from the unit vector `start` to the peak itself; return whether it ended, the value, and where.

    Newton's whole step where H is negative definite and the step short; one along the gradient elsewhere.
    """
    x, y, z = start
    converged = _SHARP if coefficients.itemsize == 8 else _CONVERGED
    share = 1.0 / (degree - 1.0)
    for _ in range(_MAX_ITERATIONS):
        s = second_derivatives(coefficients, degree, x, y, z)
        a, b, c = times(s, x, y, z)
        a, b, c = a * share, b * share, c * share
        radial = a * x + b * y + c * z
        a, b, c = a - radial * x, b - radial * y, c - radial * z
        slope = math.sqrt(a * a + b * b + c * c)
        if not slope > 0.0:  # an exact peak, or NaN
            return slope == 0.0, radial / degree, (x, y, z)
        u, v, w, length = whole_step(s, degree, (x, y, z), (a, b, c))
        if not length < _NEWTON_BELOW:
            u, v, w = a / slope, b / slope, c / slope
            p, q, r = times(s, u, v, w)
            curvature = u * p + v * q + w * r - radial
            length = min(abs(slope / curvature), _LONGEST_STEP) if curvature != 0.0 else 0.0
            u, v, w = length * u, length * v, length * w
        x, y, z = unit(x + u, y + v, z + w)
        if length < converged:
            return True, radial / degree, (x, y, z)
    return False, 0.0, (x, y, z)

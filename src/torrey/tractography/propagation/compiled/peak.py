"""The peak of a polynomial on the sphere that is reached by ascent from a given direction.

With S = ∇²P at a unit vector x of a homogeneous polynomial of degree L, Euler's identity gives
∇P = S x/(L − 1) and P = x·∇P/L. On
the sphere the gradient is g = Π∇P and the Hessian H = ΠSΠ − (x·∇P) Π, with Π = 1 − xxᵀ.
"""

from __future__ import annotations

import math

import numpy as np

from .unrolled import kernel, second_derivatives

_MAX_ITERATIONS = 50  # MRtrix
_LONGEST_STEP = 0.2  # rad, MRtrix
_CONVERGED = 1e-4  # rad, MRtrix
_POLE = 1e-4  # sine of the elevation below which MRtrix takes another frame
_POLISHED = 1e-7  # rad; Newton's last step, so what is left is of the order of its square
_MAX_POLISH = 8

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
def newton(s: tuple, degree: int, x: Vector, right: Vector) -> Vector:
    """Return −H⁻¹ Π `right`, a tangent at the unit vector `x` where the second derivatives are `s`.

    Where H is singular the answer is not finite.
    """
    a, b, c = x
    p, q, r = times(s, a, b, c)
    radial = (p * a + q * b + r * c) / (degree - 1.0)
    # a tangent frame: e from the axis that is farthest from x, f = x × e
    if abs(a) < 0.6:
        e0, e1, e2 = unit(0.0, c, -b)
    else:
        e0, e1, e2 = unit(-c, 0.0, a)
    f0, f1, f2 = b * e2 - c * e1, c * e0 - a * e2, a * e1 - b * e0
    p, q, r = times(s, e0, e1, e2)
    hee = e0 * p + e1 * q + e2 * r - radial
    hef = f0 * p + f1 * q + f2 * r
    p, q, r = times(s, f0, f1, f2)
    hff = f0 * p + f1 * q + f2 * r - radial
    along = e0 * right[0] + e1 * right[1] + e2 * right[2]
    across = f0 * right[0] + f1 * right[1] + f2 * right[2]
    determinant = hee * hff - hef * hef
    u = (hef * across - hff * along) / determinant
    v = (hef * along - hee * across) / determinant
    return u * e0 + v * f0, u * e1 + v * f1, u * e2 + v * f2


@kernel
def climb(coefficients: np.ndarray, degree: int, start: Vector) -> tuple[bool, float, Vector]:
    """Climb from the unit vector `start` as MRtrix does; return whether it ended, the value, and where.

    Steps go along u = g/|g| by |g| / |c|, at most 0.2 rad, until one is shorter than 1e-4 rad; the value is
    that before the last. The curvature c along u is MRtrix's, from derivatives in elevation θ and azimuth φ:
    it lacks the Christoffel symbols and so exceeds uᵀHu by |g| cot θ u_θ u_φ², which vanishes at a peak.
    Fifty steps are not enough for some flat or ridge-like functions: these count as without a peak.
    """
    x, y, z = start
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
        scale = 1.0 / slope
        a, b, c = a * scale, b * scale, c * scale
        p, q, r = times(s, a, b, c)
        curvature = a * p + b * q + c * r - radial
        squared_sine = x * x + y * y
        if squared_sine > _POLE * _POLE:
            turn = x * b - y * a
            curvature -= slope * z * c * turn * turn / (squared_sine * squared_sine)
        length = min(abs(slope / curvature), _LONGEST_STEP) if curvature != 0.0 else 0.0
        x, y, z = unit(x + length * a, y + length * b, z + length * c)
        if length < _CONVERGED:
            return True, radial / degree, (x, y, z)
    return False, 0.0, (x, y, z)


@kernel
def polish(coefficients: np.ndarray, degree: int, start: Vector) -> Vector:
    """Return the peak itself, by Newton's method from a direction that is close to it."""
    x, y, z = start
    for _ in range(_MAX_POLISH):
        s = second_derivatives(coefficients, degree, x, y, z)
        a, b, c = newton(s, degree, (x, y, z), times(s, x, y, z))
        a, b, c = a / (degree - 1.0), b / (degree - 1.0), c / (degree - 1.0)
        size = math.sqrt(a * a + b * b + c * c)
        if not size < _LONGEST_STEP:  # no peak near: a ridge, or NaN
            return start
        x, y, z = unit(x + a, y + b, z + c)
        if size < _POLISHED:
            break
    return x, y, z

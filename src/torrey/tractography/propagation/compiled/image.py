"""An image of polynomials, and its values between voxels as MRtrix interpolates them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from .unrolled import REASSOCIATE, kernel


class PolynomialImage(NamedTuple):
    """Polynomials of one even degree at the voxels of a grid.

    Attributes
    ----------
    values : (V, n) array
        Coefficients of monomials, in the order of `polynomial.exponents`; float32 or float64, contiguous.
    occupied : (V,) uint8 array
        Where a voxel holds something. Elsewhere is outside the image, as in MRtrix.
    shape : (3,) int64 array
        Voxels along each axis; the last varies fastest.
    world_to_voxel : (3, 4) float64 array
        mm to voxel indices.
    degree : int
        2, 4, 6 or 8.
    elevations : (m, 3, degree + 1) array
        `meridians.elevation_table`, in the type of `values`.
    """

    values: np.ndarray
    occupied: np.ndarray
    shape: np.ndarray
    world_to_voxel: np.ndarray
    degree: int
    elevations: np.ndarray


@kernel
def to_voxel(matrix: np.ndarray, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return voxel coordinates of a point in mm."""
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3],
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3],
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3],
    )


@kernel
def nearest_voxel(shape: np.ndarray, i: float, j: float, k: float) -> int:
    """Return the flat index of the voxel that holds a point in voxel coordinates, −1 outside.

    A face belongs to the voxel above it: halves away from zero, for the indices that exist.
    """
    inside = -0.5 < i < shape[0] - 0.5 and -0.5 < j < shape[1] - 0.5 and -0.5 < k < shape[2] - 0.5
    if not inside:
        return -1
    row = math.floor(i + 0.5) * shape[1] + math.floor(j + 0.5)
    return int(row * shape[2] + math.floor(k + 0.5))


@kernel
def _along(v: float, size: int) -> tuple[int, float, float]:
    """Return the lower corner, the fraction above it, and the derivative of the fraction, along an axis.

    Beyond the outermost centres the image goes on unchanged.
    """
    if v < 0.0:
        return 0, 0.0, 0.0
    lowest = max(size - 2, 0)
    if v > size - 1:
        return lowest, 1.0, 0.0
    lower = min(int(v), lowest)
    return lower, v - lower, 1.0


@kernel
def corners(shape: np.ndarray, i: float, j: float, k: float) -> tuple:
    """Return the first of eight voxels around a point, the strides to the others, fractions and slopes."""
    li, fi, si = _along(i, shape[0])
    lj, fj, sj = _along(j, shape[1])
    lk, fk, sk = _along(k, shape[2])
    first = (li * shape[1] + lj) * shape[2] + lk
    strides = (
        shape[1] * shape[2] if shape[0] > 1 else 0,
        shape[2] if shape[1] > 1 else 0,
        1 if shape[2] > 1 else 0,
    )
    return first, strides, (fi, fj, fk), (si, sj, sk)


@njit(cache=True, error_model="numpy", fastmath=REASSOCIATE)
def _mix(
    values: np.ndarray,
    first: int,
    strides: tuple[int, int, int],
    fractions: tuple[float, float, float],
    out: np.ndarray,
) -> None:
    """Write the trilinear mean of eight rows of `values` to `out` (n,)."""
    real = values.dtype.type
    si, sj, sk = strides
    fi, fj, fk = fractions
    gi, gj, gk = 1.0 - fi, 1.0 - fj, 1.0 - fk
    w0, w1, w2, w3 = real(gi * gj * gk), real(gi * gj * fk), real(gi * fj * gk), real(gi * fj * fk)
    w4, w5, w6, w7 = real(fi * gj * gk), real(fi * gj * fk), real(fi * fj * gk), real(fi * fj * fk)
    r1, r2, r3 = first + sk, first + sj, first + sj + sk
    r4, r5, r6, r7 = first + si, r1 + si, r2 + si, r3 + si
    for j in range(out.shape[0]):
        out[j] = (
            (w0 * values[first, j] + w1 * values[r1, j])
            + (w2 * values[r2, j] + w3 * values[r3, j])
            + (w4 * values[r4, j] + w5 * values[r5, j])
            + (w6 * values[r6, j] + w7 * values[r7, j])
        )


@kernel
def interpolate(image: PolynomialImage, x: float, y: float, z: float, out: np.ndarray) -> bool:
    """Write the coefficients at a point in mm to `out` (n,); return False outside the image and at NaN."""
    i, j, k = to_voxel(image.world_to_voxel, x, y, z)
    nearest = nearest_voxel(image.shape, i, j, k)
    if nearest < 0 or image.occupied[nearest] == 0:
        return False
    first, strides, fractions, _ = corners(image.shape, i, j, k)
    _mix(image.values, first, strides, fractions, out)
    return not math.isnan(out[0])

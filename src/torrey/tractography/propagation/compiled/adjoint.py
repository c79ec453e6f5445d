"""The derivative of streamlines with respect to the image, the seeds and the step, from their points alone.

Directions do not depend on those before them, save by the choice of a peak, so the adjoint's state is a
position: going back from both ends to the seed, λ_k = g_k + (1 + h ∂d/∂p)ᵀ λ_{k+1} with cotangents g of the
points. A peak d of P moves by dd = −H⁻¹ Π d(∇P), so with μ = −H⁻¹ Π (h λ) the coefficient of a monomial m
gets μ·∇m(d), spread over eight voxels by the trilinear weights, whose own derivative gives ∂d/∂p.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from .grow import Grown, heading, mean_direction, share_threads, shifted
from .image import PolynomialImage, corners, interpolate, to_voxel
from .peak import Vector, newton, unit
from .unrolled import REASSOCIATE, kernel, second_derivatives, turned_monomials

_BUFFER_BYTES_A_POINT = 64
_MOST_BUFFERS = 16


class Gradients(NamedTuple):
    """Derivatives of a number.

    Attributes
    ----------
    values : (V, n) array
        With respect to the coefficients of the image, in their type.
    seeds : (S, 3) float64 array
        With respect to the seed of each streamline.
    step : float
        With respect to the length of a step.
    """

    values: np.ndarray
    seeds: np.ndarray
    step: float


class _Scratch(NamedTuple):
    """Room for the coefficients at a point and for their cotangents, (n,) each."""

    coefficients: np.ndarray
    cotangents: np.ndarray


@njit(cache=True, error_model="numpy", fastmath=REASSOCIATE)
def _spread(
    values: np.ndarray,
    first: int,
    strides: tuple[int, int, int],
    fractions: tuple[float, float, float],
    cotangents: np.ndarray,
    gradient: np.ndarray,
) -> Vector:
    """Add cotangents of an interpolated row to eight rows of `gradient`; return those of the fractions."""
    real = values.dtype.type
    along_i, along_j, along_k = 0.0, 0.0, 0.0
    for corner in range(8):
        i, j, k = corner >> 2, (corner >> 1) & 1, corner & 1
        row = first + i * strides[0] + j * strides[1] + k * strides[2]
        wi = fractions[0] if i else 1.0 - fractions[0]
        wj = fractions[1] if j else 1.0 - fractions[1]
        wk = fractions[2] if k else 1.0 - fractions[2]
        weight, product = real(wi * wj * wk), real(0)
        for m in range(cotangents.shape[0]):
            gradient[row, m] += weight * cotangents[m]
            product += values[row, m] * cotangents[m]
        along_i += product * wj * wk * (2 * i - 1)
        along_j += product * wi * wk * (2 * j - 1)
        along_k += product * wi * wj * (2 * k - 1)
    return along_i, along_j, along_k


@kernel
def _pull(
    image: PolynomialImage, p: Vector, d: Vector, cotangent: Vector, gradient: np.ndarray, scratch: _Scratch
) -> Vector:
    """Add what the cotangent of the peak `d` at `p` means for the image; return what it means for `p`."""
    interpolate(image, p[0], p[1], p[2], scratch.coefficients)
    s = second_derivatives(scratch.coefficients, image.degree, d[0], d[1], d[2])
    m = newton(s, image.degree, d, cotangent)
    turned_monomials(scratch.cotangents, image.degree, d[0], d[1], d[2], m[0], m[1], m[2])
    matrix = image.world_to_voxel
    i, j, k = to_voxel(matrix, p[0], p[1], p[2])
    first, strides, fractions, slopes = corners(image.shape, i, j, k)
    a, b, c = _spread(image.values, first, strides, fractions, scratch.cotangents, gradient)
    a, b, c = a * slopes[0], b * slopes[1], c * slopes[2]
    return (
        matrix[0, 0] * a + matrix[1, 0] * b + matrix[2, 0] * c,
        matrix[0, 1] * a + matrix[1, 1] * b + matrix[2, 1] * c,
        matrix[0, 2] * a + matrix[1, 2] * b + matrix[2, 2] * c,
    )


@kernel
def _dot(u: Vector, v: Vector) -> float:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


@kernel
def _euler_back(
    image: PolynomialImage,
    step: float,
    p: Vector,
    d: Vector,
    cotangent: Vector,
    gradient: np.ndarray,
    scratch: _Scratch,
) -> tuple[Vector, float]:
    """Return the cotangents of `p` and of the step from that of p + h d."""
    scaled = step * cotangent[0], step * cotangent[1], step * cotangent[2]
    return shifted(cotangent, 1.0, _pull(image, p, d, scaled, gradient, scratch)), _dot(cotangent, d)


@kernel
def _rk4_back(
    image: PolynomialImage,
    step: float,
    p: Vector,
    before: Vector,
    cotangent: Vector,
    gradient: np.ndarray,
    scratch: _Scratch,
) -> tuple[Vector, float]:
    """As `_euler_back`, for the fourth-order step from `p`, which was reached along `before`."""
    _, k1 = heading(image, True, p, before, scratch.coefficients)
    at2 = shifted(p, 0.5 * step, k1)
    _, k2 = heading(image, True, at2, before, scratch.coefficients)
    at3 = shifted(p, 0.5 * step, k2)
    _, k3 = heading(image, True, at3, before, scratch.coefficients)
    at4 = shifted(p, step, k3)
    between = unit(k2[0] + k3[0], k2[1] + k3[1], k2[2] + k3[2])
    _, k4 = heading(image, True, at4, between, scratch.coefficients)
    new = mean_direction(k1, k2, k3, k4)
    # k1 + 2 k2 + 2 k3 + k4 has this component along its own direction, its length
    scale = step / (_dot(k1, new) + 2.0 * (_dot(k2, new) + _dot(k3, new)) + _dot(k4, new))
    outward = _dot(cotangent, new)
    mean = (
        scale * (cotangent[0] - outward * new[0]),
        scale * (cotangent[1] - outward * new[1]),
        scale * (cotangent[2] - outward * new[2]),
    )
    twice = 2.0 * mean[0], 2.0 * mean[1], 2.0 * mean[2]
    from4 = _pull(image, at4, k4, mean, gradient, scratch)
    from3 = _pull(image, at3, k3, shifted(twice, step, from4), gradient, scratch)
    from2 = _pull(image, at2, k2, shifted(twice, 0.5 * step, from3), gradient, scratch)
    from1 = _pull(image, p, k1, shifted(mean, 0.5 * step, from2), gradient, scratch)
    to_step = outward + _dot(from4, k3) + 0.5 * (_dot(from3, k2) + _dot(from2, k1))
    back = (
        cotangent[0] + from1[0] + from2[0] + from3[0] + from4[0],
        cotangent[1] + from1[1] + from2[1] + from3[1] + from4[1],
        cotangent[2] + from1[2] + from2[2] + from3[2] + from4[2],
    )
    return back, to_step


@kernel
def _half_back(
    image: PolynomialImage,
    step: float,
    rk4: bool,
    line: np.ndarray,
    cotangents: np.ndarray,
    end: int,
    seed: int,
    start: Vector,
    gradient: np.ndarray,
    scratch: _Scratch,
) -> tuple[Vector, float]:
    """Return the cotangents of the seed, without its own, and of the step, from one half of a streamline.

    The half lies in rows `seed` to `end` of `line` (n, 3), to either side; it set off along ± `start`.
    """
    towards = 1 if seed > end else -1
    total = 0.0, 0.0, 0.0
    to_step = 0.0
    row = end
    while row != seed:
        total = (
            total[0] + cotangents[row, 0],
            total[1] + cotangents[row, 1],
            total[2] + cotangents[row, 2],
        )
        reached = line[row, 0], line[row, 1], line[row, 2]
        row += towards
        p = line[row, 0], line[row, 1], line[row, 2]
        if rk4:
            before = start
            if row == seed:
                if _dot(start, reached) < _dot(start, p):
                    before = -start[0], -start[1], -start[2]
            else:
                last = row + towards
                before = unit(p[0] - line[last, 0], p[1] - line[last, 1], p[2] - line[last, 2])
            total, part = _rk4_back(image, step, p, before, total, gradient, scratch)
        else:
            d = unit(reached[0] - p[0], reached[1] - p[1], reached[2] - p[2])
            total, part = _euler_back(image, step, p, d, total, gradient, scratch)
        to_step += part
    return total, to_step


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _go_back(
    image: PolynomialImage,
    step: float,
    rk4: bool,
    grown: Grown,
    cotangents: np.ndarray,
    bounds: np.ndarray,
    buffers: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Add to the image's gradients `buffers` (B, V, n), one a block of streamlines; return the others."""
    n = grown.offsets.shape[0] - 1
    to_seeds, to_step = np.empty((n, 3)), np.zeros(n)
    for b in prange(buffers.shape[0]):
        scratch = _Scratch(
            np.empty(image.values.shape[1], image.values.dtype),
            np.empty(image.values.shape[1], image.values.dtype),
        )
        for s in range(bounds[b], bounds[b + 1]):
            begin, end = grown.offsets[s], grown.offsets[s + 1]
            line, dual = grown.points[begin:end], cotangents[begin:end]
            seed = grown.seed_rows[s] - begin
            d = grown.seed_directions[s, 0], grown.seed_directions[s, 1], grown.seed_directions[s, 2]
            ahead, h1 = _half_back(image, step, rk4, line, dual, 0, seed, d, buffers[b], scratch)
            behind, h2 = _half_back(
                image, step, rk4, line, dual, end - begin - 1, seed, d, buffers[b], scratch
            )
            for axis in range(3):
                to_seeds[s, axis] = ahead[axis] + behind[axis] + dual[seed, axis]
            to_step[s] = h1 + h2
    return to_seeds, to_step


@njit(cache=True, error_model="numpy", parallel=True, nogil=True)
def _sum(buffers: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.empty_like(buffers[0])
    for v in prange(total.shape[0]):
        for j in range(total.shape[1]):
            total[v, j] = buffers[:, v, j].sum()
    return total


def pull_back(
    image: PolynomialImage, grown: Grown, cotangents: np.ndarray, *, step: float, rk4: bool
) -> Gradients:
    """Return the derivatives of a number whose derivatives in the points are `cotangents` (P, 3).

    Which points there are is taken as given. Blocks of streamlines add to gradients of their own, which are
    summed at the end: how many depends on the sizes alone, so the result is the same for all numbers of
    threads. Derivatives are not finite where a peak is flat.
    """
    share_threads()
    bytes_each = max(image.values.nbytes, 1)
    wanted = _BUFFER_BYTES_A_POINT * len(grown.points) // bytes_each
    n_buffers = 2 ** int(math.log2(min(max(wanted, 2), _MOST_BUFFERS)))
    shares = np.linspace(0, len(grown.points), n_buffers + 1)
    bounds = np.searchsorted(grown.offsets, shares)
    buffers = np.zeros((n_buffers, *image.values.shape), image.values.dtype)
    to_seeds, to_step = _go_back(image, step, rk4, grown, cotangents, bounds, buffers)
    return Gradients(_sum(buffers) if n_buffers > 1 else buffers[0], to_seeds, float(to_step.sum()))

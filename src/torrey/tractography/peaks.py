"""Peaks of even functions on the sphere, and their derivative by the implicit function theorem.

A function of even degree L is held as one homogeneous polynomial P of degree L. At a unit vector x the matrix
of second derivatives S = ∇²P(x) gives the rest by Euler's identity: ∇P = S x/(L − 1) and P = x·∇P/L. With the
projector Π = 1 − xxᵀ the gradient on the sphere is g = Π∇P and the Hessian H = ΠSΠ − (x·∇P) Π: no angles, no
poles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .meridians import ELEVATIONS, around, elevation_table
from .polynomial import first_derivatives, monomials, second_derivatives

MAX_ITERATIONS = 50
"""Evaluations of an ascent before it is given up, as in MRtrix."""

_LONGEST_STEP = 0.2  # rad, MRtrix
_CONVERGED = 1e-4  # rad, MRtrix
_POLE = 1e-4  # sine of the elevation below which MRtrix leaves out derivatives in azimuth but the first
_SHARP = 1e-7  # rad in float64: the last step is Newton's, so what is left is of the order of its square
_NEWTON_BELOW = 0.1  # rad: well within the basin of a peak of degree 8, half as wide
_TINY = 1e-30  # no slope, so no step


class Peaks(NamedTuple):
    """Peaks: unit `directions` (n, 3), `amplitudes` (n,) there, and which were `found` (n,)."""

    directions: Tensor
    amplitudes: Tensor
    found: Tensor


@dataclass(frozen=True)
class Ascent:
    """How to climb.

    MRtrix's way is along the gradient by |g| / |uᵀHu|, u = g/|g|, at most 0.2 rad, until a step is shorter
    than 1e-4 rad, which leaves about as much. Along a ridge it may take more than the 50 steps after which it
    is given up.

    Parameters
    ----------
    sharpen : bool
        Whether to take Newton's whole step close to a peak, which ends at the peak itself and in fewer steps.
    elevations : int
        Entries of the table that MRtrix's way reads; see `meridians`.
    """

    sharpen: bool = False
    elevations: int = ELEVATIONS


def find_peaks(polynomials: Tensor, starts: Tensor, degree: int, ascent: Ascent) -> Peaks:
    """Climb from `starts` (n, 3) to the peaks of `polynomials` (n, N), differentiable in the latter."""
    directions, amplitudes, found = _Peak.apply(polynomials, starts, degree, ascent)
    return Peaks(directions, amplitudes, found)


class _Local(NamedTuple):
    value: Tensor  # (n,)
    slope: Tensor  # (n, 2), g in the tangent frame
    hessian: tuple[Tensor, Tensor, Tensor]  # (n,) each: H11, H12, H22
    frame: tuple[Tensor, Tensor]  # (n, 3) each


def tangent_frame(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return two unit vectors (n, 3) that are orthogonal to `x` (n, 3) and to each other."""
    a, b, c = x.unbind(-1)
    sign = torch.ones_like(c).copysign(c)
    scale = -1 / (sign + c)
    mixed = a * b * scale
    first = torch.stack([1 + sign * a * a * scale, sign * mixed, -sign * a], -1)
    second = torch.stack([mixed, sign + b * b * scale, -b], -1)
    return first, second


def _local(second: Tensor, x: Tensor, degree: int) -> _Local:
    """Return value, slope and Hessian at `x` (n, 3) from the coefficients `second` (n, 6, M) of ∇²P."""
    s = (second @ monomials(x, degree - 2)[..., None])[..., 0]
    sxx, syy, szz, sxy, sxz, syz = s.unbind(-1)
    a, b, c = x.unbind(-1)
    gradient = torch.stack(
        [sxx * a + sxy * b + sxz * c, sxy * a + syy * b + syz * c, sxz * a + syz * b + szz * c], -1
    ) / (degree - 1)
    radial = (gradient * x).sum(-1)
    e, f = tangent_frame(x)

    def form(u: Tensor, v: Tensor) -> Tensor:
        ux, uy, uz = u.unbind(-1)
        vx, vy, vz = v.unbind(-1)
        mixed = sxy * (ux * vy + uy * vx) + sxz * (ux * vz + uz * vx) + syz * (uy * vz + uz * vy)
        return sxx * ux * vx + syy * uy * vy + szz * uz * vz + mixed

    slope = torch.stack([(gradient * e).sum(-1), (gradient * f).sum(-1)], -1)
    return _Local(radial / degree, slope, (form(e, e) - radial, form(e, f), form(f, f) - radial), (e, f))


def _newton(at: _Local, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return −H⁻¹ `right` (n, 2), and where H is negative definite (n,)."""
    p, q, r = at.hessian
    determinant = p * r - q * q
    u, v = right.unbind(-1)
    step = torch.stack([q * v - r * u, q * u - p * v], -1) / determinant[:, None]
    return step, (p < 0) & (determinant > 0)


class _Step(NamedTuple):
    tangent: Tensor  # (n, 3), rad
    value: Tensor  # (n,) where it begins


def _mrtrix_step(polynomials: Tensor, x: Tensor, degree: int, table: Tensor) -> _Step:
    """Return MRtrix's step from `x` (n, 3): its curvature has no Christoffel symbols."""
    radius = torch.hypot(x[:, 0], x[:, 1])
    pole = radius < _POLE
    horizontal = torch.where(pole, 1.0, radius)
    value, t, tt, p, tp, pp = around(polynomials, x, degree, table).unbind(1)
    p, tp, pp = (
        torch.where(pole, tp, p / horizontal),
        torch.where(pole, 0.0, tp / horizontal),
        torch.where(pole, 0.0, pp / horizontal**2),
    )
    size = torch.hypot(t, p)
    u, v = t / size.clamp_min(_TINY), p / size.clamp_min(_TINY)
    length = _length(size, u * u * tt + 2 * u * v * tp + v * v * pp)
    away = torch.where(radius > 0, x[:, :2].T / radius.clamp_min(_TINY), x.new_tensor([[1.0], [0.0]]))
    cosine, sine = away
    south = torch.stack([cosine * x[:, 2], sine * x[:, 2], -radius], 1)
    east = torch.stack([-sine, cosine, torch.zeros_like(sine)], 1)
    return _Step((length * u)[:, None] * south + (length * v)[:, None] * east, value)


def _sharp_step(second: Tensor, x: Tensor, degree: int) -> _Step:
    """Return Newton's step from `x` (n, 3) where that is short, one along the gradient elsewhere."""
    at = _local(second, x, degree)
    p, q, r = at.hessian
    size = at.slope.norm(dim=-1)
    u, v = (at.slope / size.clamp_min(_TINY)[:, None]).unbind(-1)
    length = _length(size, u * u * p + 2 * u * v * q + v * v * r)
    whole, concave = _newton(at, at.slope)
    near = concave & (whole.norm(dim=-1) < _NEWTON_BELOW)
    move = torch.where(near[:, None], whole, torch.stack([u, v], -1) * length[:, None])
    e, f = at.frame
    return _Step(move[:, :1] * e + move[:, 1:] * f, at.value)


def _length(size: Tensor, curvature: Tensor) -> Tensor:
    return torch.where(curvature == 0, 0.0, (size / curvature).abs()).clamp_max(_LONGEST_STEP)


def _climb(polynomials: Tensor, starts: Tensor, degree: int, ascent: Ascent) -> tuple[Tensor, Tensor, Tensor]:
    x = starts.to(polynomials.dtype).clone()
    amplitudes = torch.full_like(x[:, 0], torch.nan)
    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    climbing = torch.arange(len(x), device=x.device)
    form = second_derivatives(polynomials, degree) if ascent.sharpen else polynomials
    table = elevation_table(degree, ascent.elevations).to(polynomials)
    converged = _SHARP if ascent.sharpen and x.dtype == torch.float64 else _CONVERGED
    for _ in range(MAX_ITERATIONS):
        here = x[climbing]
        sharp = ascent.sharpen
        step = _sharp_step(form, here, degree) if sharp else _mrtrix_step(form, here, degree, table)
        reached = here + step.tangent
        x[climbing] = reached / reached.norm(dim=-1, keepdim=True)
        amplitudes[climbing] = step.value
        done = step.tangent.norm(dim=-1) < converged
        found[climbing] = done
        if bool(done.all()):
            break
        climbing, form = climbing[~done], form[~done]
    return x, amplitudes, found


class _Peak(torch.autograd.Function):
    """At a peak g(x; c) = 0, so dx = −H⁻¹ Π d(∇P); the value there changes as P does at a fixed x."""

    @staticmethod
    def forward(
        ctx: Any, polynomials: Tensor, starts: Tensor, degree: int, ascent: Ascent
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, amplitudes, found = _climb(polynomials, starts, degree, ascent)
        ctx.save_for_backward(polynomials, x)
        ctx.degree = degree
        ctx.mark_non_differentiable(found)
        return x, amplitudes, found

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        polynomials, x = ctx.saved_tensors
        to_direction, to_amplitude, _ = cotangents
        return direction_pullback(polynomials, x, to_direction, to_amplitude, ctx.degree), None, None, None


def direction_pullback(
    polynomials: Tensor, x: Tensor, to_direction: Tensor, to_amplitude: Tensor, degree: int
) -> Tensor:
    """Return the cotangent (n, N) of `polynomials` from those of their peaks `x` and values."""
    at = _local(second_derivatives(polynomials, degree), x, degree)
    e, f = at.frame
    along = torch.stack([(to_direction * e).sum(-1), (to_direction * f).sum(-1)], -1)
    moved, _ = _newton(at, along)
    # outside of what was imaged all is zero, H too: what asks for no direction must not get NaN from there
    moved = torch.where((along == 0).all(-1, keepdim=True), 0.0, moved)
    tangent = moved[:, :1] * e + moved[:, 1:] * f
    turned = (tangent[:, None, :] @ first_derivatives(x, degree))[:, 0]
    return turned + to_amplitude[:, None] * monomials(x, degree)

"""Peaks of even functions on the sphere, and their derivative by the implicit function theorem.

A function of even degree L is held as one homogeneous polynomial P of degree L. At a unit vector x the matrix
of second derivatives S = ∇²P(x) gives the rest by Euler's identity: ∇P = S x/(L − 1) and P = x·∇P/L. With the
projector Π = 1 − xxᵀ the gradient on the sphere is g = Π∇P and the Hessian H = ΠSΠ − (x·∇P) Π: no angles, no
poles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .polynomial import first_derivatives, monomials, second_derivatives

MAX_ITERATIONS = 50
"""Evaluations of an ascent before it is given up, as in MRtrix."""

_LONGEST_STEP = 0.2  # rad, MRtrix
_CONVERGED = 1e-4  # rad, MRtrix
_POLE = 1e-4  # sine of the elevation below which MRtrix takes another frame
_SHARP = 1e-7  # rad in float64: the last step is Newton's, so what is left is of the order of its square
_NEWTON_BELOW = 0.1  # rad: well within the basin of a peak of degree 8, half as wide


class Peaks(NamedTuple):
    """Peaks: unit `directions` (n, 3), `amplitudes` (n,) there, and which were `found` (n,)."""

    directions: Tensor
    amplitudes: Tensor
    found: Tensor


def find_peaks(polynomials: Tensor, starts: Tensor, degree: int, *, sharpen: bool) -> Peaks:
    """Climb from `starts` (n, 3) to the peaks of `polynomials` (n, N), differentiable in the latter.

    The ascent is MRtrix's: along the gradient by |g| / |uᵀHu|, u = g/|g|, at most 0.2 rad, until a step is
    shorter than 1e-4 rad, which leaves about as much. Along a ridge it may take more than the 50 steps after
    which it is given up. `sharpen` takes Newton's whole step close to a peak, which ends at the peak itself
    and in fewer steps.
    """
    directions, amplitudes, found = _Peak.apply(polynomials, starts, degree, sharpen)
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


def _move(at: _Local, x: Tensor, sharpen: bool) -> Tensor:
    """Return the step (n, 2) of the ascent from `x` (n, 3) in the tangent frame."""
    p, q, r = at.hessian
    size = at.slope.norm(dim=-1)
    u, v = (at.slope / size.clamp_min(torch.finfo(size.dtype).tiny)[:, None]).unbind(-1)
    curvature = u * u * p + 2 * u * v * q + v * v * r - _mrtrix_term(at, x, size, u, v)
    length = torch.where(curvature == 0, 0.0, (size / curvature).abs()).clamp_max(_LONGEST_STEP)
    along = torch.stack([u, v], -1) * length[:, None]
    if not sharpen:
        return along
    whole, concave = _newton(at, at.slope)
    near = concave & (whole.norm(dim=-1) < _NEWTON_BELOW)
    return torch.where(near[:, None], whole, along)


def _mrtrix_term(at: _Local, x: Tensor, size: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return by how much uᵀHu (n,) exceeds MRtrix's curvature along (u, v), which vanishes at a peak.

    MRtrix's second derivatives in elevation and azimuth lack the Christoffel symbols: |g| cot θ u_θ u_φ².
    """
    e, f = at.frame
    along = u[:, None] * e + v[:, None] * f
    sine = x[:, 0] ** 2 + x[:, 1] ** 2
    turn = x[:, 0] * along[:, 1] - x[:, 1] * along[:, 0]
    off_pole = sine > _POLE**2
    return torch.where(
        off_pole, size * x[:, 2] * along[:, 2] * turn**2 / torch.where(off_pole, sine, 1.0) ** 2, 0.0
    )


def _climb(polynomials: Tensor, starts: Tensor, degree: int, sharpen: bool) -> tuple[Tensor, Tensor, Tensor]:
    x = starts.to(polynomials.dtype).clone()
    amplitudes = torch.full_like(x[:, 0], torch.nan)
    found = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    climbing = torch.arange(len(x), device=x.device)
    second = second_derivatives(polynomials, degree)
    converged = _SHARP if sharpen and x.dtype == torch.float64 else _CONVERGED
    for _ in range(MAX_ITERATIONS):
        at = _local(second, x[climbing], degree)
        move = _move(at, x[climbing], sharpen)
        e, f = at.frame
        reached = x[climbing] + move[:, :1] * e + move[:, 1:] * f
        x[climbing] = reached / reached.norm(dim=-1, keepdim=True)
        amplitudes[climbing] = at.value
        done = move.norm(dim=-1) < converged
        found[climbing] = done
        if bool(done.all()):
            break
        climbing, second = climbing[~done], second[~done]
    return x, amplitudes, found


class _Peak(torch.autograd.Function):
    """At a peak g(x; c) = 0, so dx = −H⁻¹ Π d(∇P); the value there changes as P does at a fixed x."""

    @staticmethod
    def forward(
        ctx: Any, polynomials: Tensor, starts: Tensor, degree: int, sharpen: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        x, amplitudes, found = _climb(polynomials, starts, degree, sharpen)
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

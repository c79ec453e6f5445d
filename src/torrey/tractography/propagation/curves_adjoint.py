"""The gradient of streamlines, with memory of the order of their points.

A step takes p to p + h d(p), and d depends on the last direction only through the choice of a peak or a sign, so
the adjoint of a half is that of its positions,

    λₖ = ∂L/∂pₖ + (1 + h ∂d/∂p)ᵀ λₖ₊₁,

from its end to the seed, where both halves meet. The matrices come first, for all points at once; then the sweep; then
one product of all λ with the derivatives of the directions in the image and the step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .rules import Rule
from .stages import Stages

_ROWS_AT_ONCE = 16384


class Curves(NamedTuple):
    """Streamlines laid end to end, with what their steps were chosen by.

    Attributes
    ----------
    points : (P, 3) Tensor
        mm.
    offsets : (S + 1,) Tensor
        Where each begins.
    centres : (S,) Tensor
        The row of each seed.
    forward, backward : (S, 3) Tensor
        The directions in which the halves toward higher and lower rows began.
    """

    points: Tensor
    offsets: Tensor
    centres: Tensor
    forward: Tensor
    backward: Tensor


class _Steps(NamedTuple):
    """All steps: from the row `origins` (n,) to the row `ends` (n,), chosen with `last` (n, 3)."""

    origins: Tensor
    ends: Tensor
    last: Tensor


def attach(curves: Curves, rule: Rule, stages: Stages, seeds: Tensor, step: Tensor) -> Tensor:
    """Return the points (P, 3) with gradients in `rule.image`, `seeds` (S, 3) and `step`."""
    if torch.is_grad_enabled() and (rule.image.requires_grad or seeds.requires_grad or step.requires_grad):
        return _Attached.apply(rule.image, seeds, step, curves, rule, stages)
    return curves.points


def _steps(curves: Curves) -> _Steps:
    counts = curves.offsets.diff()
    rows = torch.arange(len(curves.points), device=counts.device)
    level = rows - curves.centres.repeat_interleave(counts)
    ends = rows[level != 0]
    level = level[level != 0]
    owner = torch.arange(len(counts), device=counts.device).repeat_interleave(counts - 1)
    origins = ends - level.sign()
    came = normalize(curves.points[origins] - curves.points[ends - 2 * level.clamp(-1, 1)], dim=-1)
    first = torch.where((level > 0)[:, None], curves.forward[owner], curves.backward[owner])
    return _Steps(origins, ends, torch.where((level.abs() == 1)[:, None], first, came))


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, seeds: Tensor, step: Tensor, curves: Curves, rule: Rule, stages: Stages
    ) -> Tensor:
        ctx.save_for_backward(image, step)
        ctx.curves, ctx.rule, ctx.stages = curves, rule, stages
        return curves.points

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        image, step = ctx.saved_tensors
        curves, rule, stages = ctx.curves, ctx.rule, ctx.stages
        steps = _steps(curves)
        image, step = image.detach(), step.detach()
        slopes = _slopes(rule, stages, image, curves.points, steps, step)
        adjoint = _sweep(curves, steps, slopes, cotangents[0])
        to_image, to_step = _collect(
            rule, stages, image, curves.points, steps, step, adjoint, wants_image=ctx.needs_input_grad[0]
        )
        return to_image, adjoint[curves.centres], to_step, None, None, None


def _slopes(rule: Rule, stages: Stages, image: Tensor, points: Tensor, steps: _Steps, step: Tensor) -> Tensor:
    """Return h ∂d/∂p (n, 3, 3) of all steps."""
    slopes = points.new_zeros(len(steps.ends), 3, 3)
    for part in torch.arange(len(steps.ends), device=points.device).split(_ROWS_AT_ONCE):
        with torch.enable_grad():
            here = points[steps.origins[part]].requires_grad_()
            moved = step * stages(rule, image, here, steps.last[part], step).directions
            if not moved.requires_grad:  # a direction that does not change with the position
                break
            for axis in range(3):
                (row,) = torch.autograd.grad(moved[:, axis].sum(), here, retain_graph=axis < 2)
                slopes[part, axis] = row
    return slopes


def _sweep(curves: Curves, steps: _Steps, slopes: Tensor, cotangent: Tensor) -> Tensor:
    """Return λ (P, 3) of all points."""
    adjoint = cotangent.clone()
    row_of_step = torch.empty(len(adjoint), dtype=torch.int64, device=adjoint.device)
    row_of_step[steps.ends] = torch.arange(len(steps.ends), device=adjoint.device)
    n_onward = curves.offsets[1:] - 1 - curves.centres
    n_back = curves.centres - curves.offsets[:-1]
    for count, sign in ((n_onward, 1), (n_back, -1)):
        order = count.argsort(descending=True)
        centres, count = curves.centres[order], count[order]
        for level in range(int(count[0]) if len(count) else 0, 0, -1):
            ends = centres[: int((count >= level).sum())] + sign * level
            here = adjoint[ends]
            carried = here + (here[:, None] @ slopes[row_of_step[ends]])[:, 0]
            adjoint[ends - sign] += carried
    return adjoint


def _collect(
    rule: Rule,
    stages: Stages,
    image: Tensor,
    points: Tensor,
    steps: _Steps,
    step: Tensor,
    adjoint: Tensor,
    *,
    wants_image: bool,
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients in the image and in the step."""
    image = image.requires_grad_(wants_image)
    step = step.requires_grad_()
    wanted = (image, step) if wants_image else (step,)
    totals = [torch.zeros_like(tensor) for tensor in wanted]
    for part in torch.arange(len(steps.ends), device=points.device).split(_ROWS_AT_ONCE):
        with torch.enable_grad():
            here = points[steps.origins[part]]
            moved = step * stages(rule, image, here, steps.last[part], step).directions
            parts = torch.autograd.grad(moved, wanted, adjoint[steps.ends[part]])
        for total, piece in zip(totals, parts, strict=True):
            total += piece
    return totals[0] if wants_image else None, totals[-1]

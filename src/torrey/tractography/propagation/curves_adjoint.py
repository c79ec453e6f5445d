"""The gradient of streamlines, with memory of the order of their points.

A step takes p to p + h d(p), and d depends on the last direction only through the choice of a peak or a
sign, so the adjoint of a half is that of its positions,

    λₖ = ∂L/∂pₖ + (1 + h ∂d/∂p)ᵀ λₖ₊₁,

from its end to the seed, where both halves meet. The matrices come first, for all points at once; then the
sweep; then one product of all λ with the derivatives of the directions in the image and the step. Between the
way forward and the way back the points are held, 24 bytes each, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .stages import DipyRule, Stages

_ROWS_AT_ONCE = 16384
"""Steps whose derivative is taken together, some 300 MB where there are 362 amplitudes a point."""


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


class _Made(NamedTuple):
    """Curves, and by what their steps were chosen."""

    curves: Curves
    rule: DipyRule
    stages: Stages

    def again(self, steps: _Steps, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Take steps once more, with a graph; return where they start and how far they go, (n, 3) each."""
        starts = self.curves.points[steps.origins].requires_grad_()
        return starts, step * self.stages(self.rule, image, starts, steps.last, step).directions


class _Steps(NamedTuple):
    """Steps from the row `origins` (n,) to the row `ends` (n,), chosen with `last` (n, 3)."""

    origins: Tensor
    ends: Tensor
    last: Tensor

    def split(self) -> Iterator[tuple[slice, _Steps]]:
        """Return parts of a size at which the derivatives of their directions fit in memory."""
        for begin in range(0, len(self.ends), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            yield part, _Steps(self.origins[part], self.ends[part], self.last[part])


def attach(curves: Curves, rule: DipyRule, stages: Stages, seeds: Tensor, step: Tensor) -> Tensor:
    """Return the points (P, 3) with gradients in `rule.image`, `seeds` (S, 3) and `step`."""
    if torch.is_grad_enabled() and (rule.image.requires_grad or seeds.requires_grad or step.requires_grad):
        points: Tensor = _Attached.apply(rule.image, seeds, step, _Made(curves, rule, stages))
        return points
    return curves.points


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, seeds: Tensor, step: Tensor, made: _Made) -> Tensor:
        ctx.save_for_backward(image, step)
        ctx.made = made
        return made.curves.points

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        image, step = (tensor.detach() for tensor in ctx.saved_tensors)
        made: _Made = ctx.made
        steps = _steps(made.curves)
        adjoint = _sweep(made.curves, steps, _slopes(made, steps, image, step), cotangents[0])
        image.requires_grad_(ctx.needs_input_grad[0])
        step.requires_grad_(ctx.needs_input_grad[2])
        to_image, to_step = _collect(made, steps, image, step, adjoint)
        return to_image, adjoint[made.curves.centres], to_step, None


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


def _slopes(made: _Made, steps: _Steps, image: Tensor, step: Tensor) -> Tensor:
    """Return h ∂d/∂p (n, 3, 3) of all steps."""
    slopes = made.curves.points.new_zeros(len(steps.ends), 3, 3)
    for part, some in steps.split():
        with torch.enable_grad():
            starts, moved = made.again(some, image, step)
            if not moved.requires_grad:  # a direction that does not change with the position
                break
            for axis in range(3):
                (row,) = torch.autograd.grad(moved[:, axis].sum(), starts, retain_graph=axis < 2)
                slopes[part, axis] = row
    return slopes


def _sweep(curves: Curves, steps: _Steps, slopes: Tensor, cotangent: Tensor) -> Tensor:
    """Return λ (P, 3) of all points."""
    adjoint = cotangent.clone()
    step_of_row = torch.empty(len(adjoint), dtype=torch.int64, device=adjoint.device)
    step_of_row[steps.ends] = torch.arange(len(steps.ends), device=adjoint.device)
    after = curves.offsets[1:] - 1 - curves.centres
    before = curves.centres - curves.offsets[:-1]
    for lengths, sign in ((after, 1), (before, -1)):
        longest_first = lengths.argsort(descending=True)
        centres = curves.centres[longest_first]
        reaching = len(lengths) - lengths.bincount().cumsum(0)  # half-streamlines longer than 0, 1, …
        for level in range(len(reaching) - 1, 0, -1):
            ends = centres[: int(reaching[level - 1])] + sign * level
            here = adjoint[ends]
            adjoint[ends - sign] += here + (here[:, None] @ slopes[step_of_row[ends]])[:, 0]
    return adjoint


def _collect(
    made: _Made, steps: _Steps, image: Tensor, step: Tensor, adjoint: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients in the image and in the step, where they ask for one."""
    wanted = [leaf for leaf in (image, step) if leaf.requires_grad]
    totals = [torch.zeros_like(leaf) for leaf in wanted]
    for _, some in steps.split() if wanted else ():
        with torch.enable_grad():
            _, moved = made.again(some, image, step)
            parts = torch.autograd.grad(moved, wanted, adjoint[some.ends])
        for total, part in zip(totals, parts, strict=True):
            total.add_(part)
    to_step = totals.pop() if step.requires_grad else None
    return (totals.pop() if image.requires_grad else None), to_step

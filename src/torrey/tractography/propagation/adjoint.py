"""The derivative of streamlines, from their points alone.

A step is p' = Φ(p; image, h). With the cotangents g of all points, those that reach a point from farther out
are λ = g + Σ (∂Φ/∂p)ᵀ λ', summed over the steps that lead away from it. So three passes: the matrices ∂Φ/∂p
of all steps at once, the recursion from the ends to the seeds, and one product λ'ᵀ ∂Φ/∂(image, h) of all
steps at once. Nothing but points is kept from the way forward: directions are differences of points, and
peaks are climbed again from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .grow import Trajectories
from .rules import Rule
from .stepping import Method

_STEPS_AT_ONCE = 16_384
"""Steps whose derivative is taken together: some 100 MB of intermediates."""


def points_of(image: Tensor, seeds: Tensor, step: Tensor, trace: Trace) -> Tensor:
    """Return the points (P, 3) of `trace`, differentiable in `image` (V, C), `seeds` (S, 3) and `step`."""
    points: Tensor = _Points.apply(image, seeds, step, trace)
    return points


@dataclass(frozen=True, eq=False)
class Trace:
    """Streamlines and how they were made."""

    trajectories: Trajectories
    rule: Rule
    method: Method


@dataclass(frozen=True, eq=False)
class _Steps:
    """All steps: rows of `points` they lead from and to, ordered from the seeds to the ends."""

    sources: Tensor
    targets: Tensor
    counts: list[int]
    """Steps at distance 1, 2, … from their seeds."""


def _steps(trajectories: Trajectories) -> _Steps:
    sizes = trajectories.offsets.diff()
    rows = torch.arange(len(trajectories.points), device=sizes.device)
    away = rows - trajectories.seed_rows.repeat_interleave(sizes)
    distance = away.abs()
    order = distance.argsort(stable=True)
    counts = torch.bincount(distance)
    targets = order[int(counts[0]) :] if len(counts) else order
    return _Steps(targets - away[targets].sign(), targets, counts[1:].tolist())


class _Points(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, seeds: Tensor, step: Tensor, trace: Trace) -> Tensor:
        ctx.save_for_backward(image, seeds, step)
        ctx.trace = trace
        return trace.trajectories.points.to(seeds.dtype)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        image, seeds, step = ctx.saved_tensors
        trace: Trace = ctx.trace
        steps = _steps(trace.trajectories)
        pulled = cotangents[0].double().clone()
        jacobians = _jacobians(trace, steps, image.detach(), step.detach())
        begin = len(steps.targets)
        for count in reversed(steps.counts):
            part = slice(begin - count, begin)
            carried = (jacobians[part].mT @ pulled[steps.targets[part]][..., None])[..., 0]
            pulled.index_add_(0, steps.sources[part], carried)
            begin -= count
        leaves = [leaf.detach().requires_grad_() for leaf in (image, step)]
        to_image, to_step = _pull(trace, steps, pulled, leaves[0], leaves[1])
        to_seeds = torch.zeros_like(seeds)
        at_seeds = pulled[trace.trajectories.seed_rows].to(seeds.dtype)
        to_seeds.index_add_(0, trace.trajectories.seed_indices, at_seeds)
        return to_image, to_seeds, to_step, None


def _chunks(steps: _Steps) -> Iterator[slice]:
    for begin in range(0, len(steps.targets), _STEPS_AT_ONCE):
        yield slice(begin, begin + _STEPS_AT_ONCE)


def _again(trace: Trace, steps: _Steps, part: slice, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Take some of the steps once more, with a graph; return where they start and where they end."""
    points = trace.trajectories.points
    starts = points[steps.sources[part]].requires_grad_()
    along = points[steps.targets[part]] - starts.detach()
    directions = along / along.norm(dim=1, keepdim=True)
    return starts, trace.method.move(trace.rule, image, starts, directions, step).points


def _jacobians(trace: Trace, steps: _Steps, image: Tensor, step: Tensor) -> Tensor:
    """Return ∂Φ/∂p (E, 3, 3) of every step."""
    jacobians = trace.trajectories.points.new_empty(len(steps.targets), 3, 3)
    with torch.enable_grad():
        for part in _chunks(steps):
            starts, ends = _again(trace, steps, part, image, step)
            for axis in range(3):
                unit = torch.zeros_like(ends)
                unit[:, axis] = 1
                (row,) = torch.autograd.grad(ends, starts, unit, retain_graph=axis < 2)
                jacobians[part, axis] = row
    return jacobians


def _pull(trace: Trace, steps: _Steps, pulled: Tensor, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cotangents of the image and of the step, both leaves."""
    to_image, to_step = torch.zeros_like(image), torch.zeros_like(step)
    with torch.enable_grad():
        for part in _chunks(steps):
            _, ends = _again(trace, steps, part, image, step)
            found = torch.autograd.grad(ends, (image, step), pulled[steps.targets[part]])
            to_image += found[0]
            to_step += found[1]
    return to_image, to_step

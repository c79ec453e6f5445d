"""Streamlines as a function that PyTorch differentiates, by their points alone.

A step is p' = Φ(p; image, h). With the cotangents g of all points, those that reach a point from farther out
are λ = g + Σ (∂Φ/∂p)ᵀ λ', summed over the steps that lead away from it. So three passes: the matrices ∂Φ/∂p
of all steps at once, the recursion from the ends to the seeds, and one product λ'ᵀ ∂Φ/∂(image, h) of all
steps at once. Directions depend on those before them only through the choice of a peak or of a sign. Nothing
but points is kept from the way forward: directions are their differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .trajectories import Trajectories

Move = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Φ: image (V, C), points (n, 3), directions (n, 3) along which they were reached, step → points (n, 3)."""

_STEPS_AT_ONCE = 16_384
"""Steps whose derivative is taken together: some hundred MB of intermediates."""


class Pulled(NamedTuple):
    """Cotangents of the image (V, C), of the seed of each streamline (S, 3) and of the step ()."""

    image: Tensor
    seeds: Tensor
    step: Tensor


PullBack = Callable[[Tensor], Pulled]
"""Cotangents of the points (P, 3) → those of what they were made of."""


def points_of(
    trajectories: Trajectories, *, image: Tensor, seeds: Tensor, step: Tensor, pull_back: PullBack
) -> Tensor:
    """Return the points (P, 3), differentiable in `image` (V, C), `seeds` (S, 3) and `step`."""
    if not (torch.is_grad_enabled() and any(x.requires_grad for x in (image, seeds, step))):
        return trajectories.points.to(seeds.dtype)
    points: Tensor = _Points.apply(image, seeds, step, trajectories, pull_back)
    return points


class _Points(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any,
        image: Tensor,
        seeds: Tensor,
        step: Tensor,
        trajectories: Trajectories,
        pull_back: PullBack,
    ) -> Tensor:
        ctx.save_for_backward(seeds, step)
        ctx.trajectories, ctx.pull_back = trajectories, pull_back
        return trajectories.points.to(seeds.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        seeds, step = ctx.saved_tensors
        pulled: Pulled = ctx.pull_back(cotangents[0].double())
        to_seeds = torch.zeros_like(seeds)
        to_seeds.index_add_(0, ctx.trajectories.seed_indices, pulled.seeds.to(seeds.dtype))
        return pulled.image, to_seeds, pulled.step.to(step), None, None


def pull_back(
    move: Move, trajectories: Trajectories, cotangents: Tensor, *, image: Tensor, step: Tensor
) -> Pulled:
    """Pull `cotangents` (P, 3) of the points back through steps `move`."""
    steps = _Steps.of(move, trajectories)
    image, step = image.detach(), step.detach()
    pulled = cotangents.clone()
    jacobians = steps.jacobians(image, step)
    begin = len(steps.targets)
    for count in reversed(steps.counts):
        part = slice(begin - count, begin)
        carried = (jacobians[part].mT @ pulled[steps.targets[part]][..., None])[..., 0]
        pulled.index_add_(0, steps.sources[part], carried)
        begin -= count
    to_image, to_step = steps.pull(pulled, image.requires_grad_(), step.requires_grad_())
    return Pulled(to_image, pulled[trajectories.seed_rows], to_step)


@dataclass(frozen=True, eq=False)
class _Steps:
    """All steps, ordered from the seeds to the ends.

    Rows of `points` that they lead from and to, and the directions (E, 3) along which they were reached.
    """

    move: Move
    points: Tensor
    sources: Tensor
    targets: Tensor
    references: Tensor
    counts: list[int]
    """Steps at distance 1, 2, … from their seeds."""

    @classmethod
    def of(cls, move: Move, trajectories: Trajectories) -> _Steps:
        sizes, points = trajectories.offsets.diff(), trajectories.points
        rows = torch.arange(len(points), device=sizes.device)
        away = rows - trajectories.seed_rows.repeat_interleave(sizes)
        order = away.abs().argsort(stable=True)
        counts = torch.bincount(away.abs()).tolist()
        targets = order[len(sizes) :]
        side = away[targets].sign()
        sources = targets - side
        came = normalize(points[sources] - points[(sources - side).clamp(0, len(points) - 1)], dim=1)
        owners = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)[targets]
        first = torch.where((side > 0)[:, None], trajectories.after[owners], trajectories.before[owners])
        references = torch.where((away[sources] == 0)[:, None], first, came)
        return cls(move, points, sources, targets, references, counts[1:])

    def _chunks(self) -> Iterator[slice]:
        for begin in range(0, len(self.targets), _STEPS_AT_ONCE):
            yield slice(begin, begin + _STEPS_AT_ONCE)

    def _again(self, part: slice, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Take some of the steps once more, with a graph; return where they start and where they end."""
        starts = self.points[self.sources[part]].requires_grad_()
        return starts, self.move(image, starts, self.references[part], step)

    def jacobians(self, image: Tensor, step: Tensor) -> Tensor:
        """Return ∂Φ/∂p (E, 3, 3) of every step."""
        jacobians = self.points.new_empty(len(self.targets), 3, 3)
        with torch.enable_grad():
            for part in self._chunks():
                starts, ends = self._again(part, image, step)
                for axis in range(3):
                    unit = torch.zeros_like(ends)
                    unit[:, axis] = 1
                    (row,) = torch.autograd.grad(ends, starts, unit, retain_graph=axis < 2)
                    jacobians[part, axis] = row
        return jacobians

    def pull(self, pulled: Tensor, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cotangents of the image and of the step, both leaves; zero where steps use them not."""
        to_image, to_step = torch.zeros_like(image), torch.zeros_like(step)
        with torch.enable_grad():
            for part in self._chunks():
                _, ends = self._again(part, image, step)
                found = torch.autograd.grad(
                    ends, (image, step), pulled[self.targets[part]], materialize_grads=True
                )
                to_image += found[0]
                to_step += found[1]
        return to_image, to_step

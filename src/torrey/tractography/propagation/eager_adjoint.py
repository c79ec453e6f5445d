"""The derivative of streamlines by PyTorch, from their points alone.

A step is p' = Φ(p; image, h). With the cotangents g of all points, those that reach a point from farther out
are λ = g + Σ (∂Φ/∂p)ᵀ λ', summed over the steps that lead away from it. So three passes: the matrices ∂Φ/∂p
of all steps at once, the recursion from the ends to the seeds, and one product λ'ᵀ ∂Φ/∂(image, h) of all
steps at once. Nothing but points is kept from the way forward: directions are differences of points, and
peaks are climbed again from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .grow import Trajectories
from .rules import Rule
from .stepping import Method

_STEPS_AT_ONCE = 16_384
"""Steps whose derivative is taken together: some 100 MB of intermediates."""


def pull_back(
    rule: Rule, method: Method, trajectories: Trajectories, cotangents: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cotangents of image (V, C), of the streamlines' seeds (S, 3) and of the step ()."""
    steps = _Steps.of(rule, method, trajectories)
    image = rule.image.detach()
    pulled = cotangents.double().clone()
    jacobians = steps.jacobians(image, step)
    begin = len(steps.targets)
    for count in reversed(steps.counts):
        part = slice(begin - count, begin)
        carried = (jacobians[part].mT @ pulled[steps.targets[part]][..., None])[..., 0]
        pulled.index_add_(0, steps.sources[part], carried)
        begin -= count
    to_image, to_step = steps.pull(pulled, image.requires_grad_(), step.requires_grad_())
    return to_image, pulled[trajectories.seed_rows], to_step


@dataclass(frozen=True, eq=False)
class _Steps:
    """All steps, ordered from the seeds to the ends.

    Rows of `points` that they lead from and to, and the directions (E, 3) along which they were reached.
    """

    rule: Rule
    method: Method
    points: Tensor
    sources: Tensor
    targets: Tensor
    references: Tensor
    counts: list[int]
    """Steps at distance 1, 2, … from their seeds."""

    @classmethod
    def of(cls, rule: Rule, method: Method, trajectories: Trajectories) -> _Steps:
        sizes = trajectories.offsets.diff()
        rows = torch.arange(len(trajectories.points), device=sizes.device)
        away = rows - trajectories.seed_rows.repeat_interleave(sizes)
        order = away.abs().argsort(stable=True)
        counts = torch.bincount(away.abs()).tolist()
        targets = order[len(sizes) :]
        side = away[targets].sign()
        sources = targets - side
        points = trajectories.points
        # the step before, or at a seed ± the direction there, whichever the step went along
        before = points[sources] - points[(sources - side).clamp(0, len(points) - 1)]
        starts = trajectories.seed_directions.repeat_interleave(sizes, 0)[targets]
        starts = starts * ((points[targets] - points[sources]) * starts).sum(1, keepdim=True).sign()
        references = torch.where((away[sources] == 0)[:, None], starts, before)
        references = references / references.norm(dim=1, keepdim=True)
        return cls(rule, method, points, sources, targets, references, counts[1:])

    def _chunks(self) -> Iterator[slice]:
        for begin in range(0, len(self.targets), _STEPS_AT_ONCE):
            yield slice(begin, begin + _STEPS_AT_ONCE)

    def _again(self, part: slice, image: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Take some of the steps once more, with a graph; return where they start and where they end."""
        starts = self.points[self.sources[part]].requires_grad_()
        return starts, self.method.move(self.rule, image, starts, self.references[part], step).points

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
        """Return the cotangents of the image and of the step, both leaves."""
        to_image, to_step = torch.zeros_like(image), torch.zeros_like(step)
        with torch.enable_grad():
            for part in self._chunks():
                _, ends = self._again(part, image, step)
                found = torch.autograd.grad(ends, (image, step), pulled[self.targets[part]])
                to_image += found[0]
                to_step += found[1]
        return to_image, to_step

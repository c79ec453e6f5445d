"""Streamlines with DIPY's rules, all advancing at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..grid import Grid
from .curves_adjoint import Curves
from .rules import Rule
from .stages import Stages
from .stopping import Stopping


class Limits(NamedTuple):
    """How few and how many points a streamline may have."""

    fewest: int
    most: int


class _Half(NamedTuple):
    owners: Tensor  # (p,) streamline of each point kept
    levels: Tensor  # (p,) steps from the seed
    points: Tensor  # (p, 3)


def grow_together(
    rule: Rule,
    stages: Stages,
    stopping: Stopping,
    starts: Tensor,
    forward: Tensor,
    step: Tensor,
    limits: Limits,
) -> tuple[Tensor, Curves]:
    """Return which streamlines from `starts` (S, 3) along `forward` (S, 3) are kept, and these.

    A half has two points less than a streamline may have, as DIPY counts.
    """
    onward = _half(rule, stages, starts, forward, step, stopping, limits.most - 2)
    first = onward.levels == 1
    owners = onward.owners[first]
    turned = turned_back(rule.grid, starts[owners], onward.points[first])
    backward = (-forward).index_copy(0, owners, turned)
    back = _half(rule, stages, starts, backward, step, stopping, limits.most - 2)
    return _join(starts, forward, backward, onward, back, limits)


def turned_back(grid: Grid, starts: Tensor, first: Tensor) -> Tensor:
    """Return the directions (n, 3) of second halves, from the seeds and the first points (n, 3) of first halves.

    DIPY normalises a difference of voxel coordinates, which is not minus the direction of the step where voxels are
    not cubes.
    """
    back = normalize(grid.to_voxels(starts) - grid.to_voxels(first), dim=-1)
    return back @ grid.axes.T.to(back)


def _half(
    rule: Rule, stages: Stages, points: Tensor, last: Tensor, step: Tensor, stopping: Stopping, most: int
) -> _Half:
    """Advance all streamlines at once, at most `most` steps; those that end leave the batch."""
    owners = torch.arange(len(points), device=points.device)
    kept = [(owners[:0], points[:0])]
    for _ in range(most):
        if not len(owners):
            break
        parts = zip(points.split(rule.rows_at_once), last.split(rule.rows_at_once), strict=True)
        headings = [stages(rule, rule.image, here, before, step) for here, before in parts]
        last, found = (torch.cat(column) for column in zip(*headings, strict=True))
        points = points + step * last
        went = (found & stopping.goes_on(rule.grid, points)).nonzero()[:, 0]
        owners, points, last = owners[went], points[went], last[went]
        kept.append((owners, points))
    levels = [torch.full_like(part, level) for level, (part, _) in enumerate(kept)]
    owned, reached = zip(*kept, strict=True)
    return _Half(torch.cat(owned), torch.cat(levels), torch.cat(reached))


def _join(
    starts: Tensor, forward: Tensor, backward: Tensor, onward: _Half, back: _Half, limits: Limits
) -> tuple[Tensor, Curves]:
    """Return the streamlines of an allowed number of points, and these laid end to end."""
    n = len(starts)
    n_onward, n_back = (half.owners.bincount(minlength=n) for half in (onward, back))
    total = n_onward + n_back + 1
    allowed = (total >= limits.fewest) & (total <= limits.most)
    kept = allowed.nonzero()[:, 0]
    offsets = torch.cat([total.new_zeros(1), total[kept].cumsum(0)])
    centres = torch.zeros_like(total)
    centres[kept] = offsets[:-1] + n_back[kept]
    points = starts.new_empty(int(offsets[-1]), 3)
    points[centres[kept]] = starts[kept]
    for half, sign in ((onward, 1), (back, -1)):
        inside = allowed[half.owners]
        rows = centres[half.owners[inside]] + sign * half.levels[inside]
        points[rows] = half.points[inside]
    return kept, Curves(points, offsets, centres[kept], forward[kept], backward[kept])

"""Streamlines with DIPY's rules, all advancing at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...grid import Grid
from ..trajectories import Trajectories
from .stages import DipyRule, Stages
from .stopping import Stopping


class Propagation(NamedTuple):
    """How streamlines go on, where they end, and how few and how many points they may have."""

    rule: DipyRule
    stages: Stages
    stopping: Stopping
    step: Tensor
    fewest: int
    most: int


class _Half(NamedTuple):
    owners: Tensor  # (p,) streamline of each point kept
    levels: Tensor  # (p,) steps from the seed
    points: Tensor  # (p, 3)


def grow_together(how: Propagation, starts: Tensor, forward: Tensor) -> Trajectories:
    """Return the streamlines from `starts` (S, 3) along `forward` (S, 3) that are kept."""
    onward = _half(how, starts, forward)
    first = onward.levels == 1
    owners = onward.owners[first]
    turned = turned_back(how.rule.grid, starts[owners], onward.points[first])
    backward = (-forward).index_copy(0, owners, turned)
    back = _half(how, starts, backward)
    n_onward, n_back = (half.owners.bincount(minlength=len(starts)) for half in (onward, back))
    total = n_onward + n_back + 1
    allowed = (total >= how.fewest) & (total <= how.most)
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
    return Trajectories(points, offsets, centres[kept], kept, backward[kept], forward[kept])


def turned_back(grid: Grid, starts: Tensor, first: Tensor) -> Tensor:
    """Return the directions (n, 3) of second halves, from seeds and first points (n, 3) of first halves.

    DIPY normalises a difference of voxel coordinates, which is not minus the direction of the step where
    voxels are not cubes.
    """
    back = normalize(grid.to_voxels(starts) - grid.to_voxels(first), dim=-1)
    return back @ grid.axes.T.to(back)


def _half(how: Propagation, points: Tensor, last: Tensor) -> _Half:
    """Advance all streamlines; those that end leave the batch. DIPY stops two points short of the most."""
    rule, step = how.rule, how.step
    owners = torch.arange(len(points), device=points.device)
    kept = [(owners[:0], points[:0])]
    for _ in range(how.most - 2):
        if not len(owners):
            break
        parts = zip(points.split(rule.rows_at_once), last.split(rule.rows_at_once), strict=True)
        headings = [how.stages(rule, rule.image, here, before, step) for here, before in parts]
        last, found = (torch.cat(column) for column in zip(*headings, strict=True))
        points = points + step * last
        went = (found & how.stopping.goes_on(rule.grid, points)).nonzero()[:, 0]
        owners, points, last = owners[went], points[went], last[went]
        kept.append((owners, points))
    levels = [torch.full_like(part, level) for level, (part, _) in enumerate(kept)]
    owned, reached = zip(*kept, strict=True)
    return _Half(torch.cat(owned), torch.cat(levels), torch.cat(reached))

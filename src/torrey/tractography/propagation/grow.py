"""Streamlines grown step by step from their seeds, thousands at once, as MRtrix grows one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .limits import Limits
from .rules import Rule
from .stepping import Method, usable
from .trajectories import Trajectories


def grow(
    rule: Rule,
    method: Method,
    seeds: Tensor,
    directions: Tensor,
    *,
    step: Tensor,
    limits: Limits,
    unidirectional: bool,
) -> Trajectories:
    """Grow one streamline from each of `seeds` (S, 3) towards `directions` (S, 3), then the other way.

    The first half comes out reversed, so that a streamline runs through its seed, unless it is the only one.
    A point is kept unless the step to it failed (amplitude, angle, end of the image) or left the mask.
    """
    started = rule.support.contains(seeds) & limits.allowed(seeds) & ~limits.forbidden(seeds)
    origin = started.nonzero()[:, 0]
    first = rule.heading(rule.image, seeds[origin], directions[origin])
    good = usable(rule, seeds[origin], first, limits.cutoff)
    origin, headings = origin[good], first.directions[good].to(seeds)
    starts = seeds[origin]

    grown = _Grown(
        counts=torch.ones_like(origin),
        visited=limits.visited(starts),
        rejected=torch.zeros_like(origin, dtype=torch.bool),
    )
    forward = _half(rule, method, starts, headings, grown, step=step, limits=limits)
    n_before = torch.zeros_like(origin) if unidirectional else grown.counts - 1
    halves = [(1 if unidirectional else -1, forward)]
    if not unidirectional:
        halves.append((1, _half(rule, method, starts, -headings, grown, step=step, limits=limits)))

    kept = ~grown.rejected & (grown.counts >= limits.least_points) & grown.visited.all(1)
    sizes = torch.where(kept, grown.counts, 0)
    return _assemble(halves, starts=starts, headings=headings, origin=origin, n_before=n_before, sizes=sizes)


@dataclass
class _Grown:
    """What is known of each streamline while it grows."""

    counts: Tensor
    visited: Tensor
    rejected: Tensor


def _half(
    rule: Rule,
    method: Method,
    points: Tensor,
    directions: Tensor,
    grown: _Grown,
    *,
    step: Tensor,
    limits: Limits,
) -> list[tuple[Tensor, Tensor]]:
    """Return, for each step, the streamlines that went on and the points they reached; update `grown`."""
    made = []
    going = torch.arange(len(points), device=points.device)
    while len(going):
        move = method.move(rule, rule.image, points, directions, step)
        went = torch.ones_like(going, dtype=torch.bool)
        for place, heading in move.stages:
            went &= usable(rule, place, heading, limits.cutoff)
        turn = method.turn(rule, directions, move)
        went &= usable(rule, *turn.stage, limits.cutoff)
        went &= (turn.before * turn.after).sum(-1) >= limits.cosine
        went &= limits.allowed(move.points)
        going, points, directions = going[went], move.points[went], move.directions[went].to(points)
        made.append((going, points))
        grown.counts[going] += 1
        grown.visited[going] |= limits.visited(points)
        forbidden = limits.forbidden(points)
        grown.rejected[going] |= forbidden
        on = ~forbidden & (grown.counts[going] < limits.most_points)
        going, points, directions = going[on], points[on], directions[on]
    return made


def _assemble(
    halves: list[tuple[int, list[tuple[Tensor, Tensor]]]],
    *,
    starts: Tensor,
    headings: Tensor,
    origin: Tensor,
    n_before: Tensor,
    sizes: Tensor,
) -> Trajectories:
    """Lay the steps of halves end to end, before (−1) or after the seed; those of size 0 are left out."""
    kept = sizes > 0
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    seed_rows = offsets[:-1] + n_before
    points = starts.new_empty(int(offsets[-1]), 3)
    points[seed_rows[kept]] = starts[kept]
    for sign, half in halves:
        for distance, (streamlines, reached) in enumerate(half, start=1):
            wanted = kept[streamlines]
            points[seed_rows[streamlines[wanted]] + sign * distance] = reached[wanted]
    ends = torch.cat([offsets[:1], offsets[1:][kept]])
    after = headings if len(halves) == 1 else -headings
    return Trajectories(points, ends, seed_rows[kept], origin[kept], headings[kept], after[kept])

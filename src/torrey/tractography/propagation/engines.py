"""How streamlines are computed: by PyTorch, for every rule and device, or compiled, for peaks on the CPU.

Both follow the same formulas, and the tests hold them together. The compiled one grows streamlines one by one
on all cores; the other advances thousands at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from . import compiled
from .adjoint import Pulled, pull_back
from .arrays import polynomial_image, regions_of
from .grow import grow
from .limits import Limits
from .rules import Rule
from .sd_stream import PeakRule
from .stepping import Euler, Method, RungeKutta
from .trajectories import Trajectories

_SEEDS_AT_ONCE = 8192
"""Seeds that PyTorch grows together: their working set stays in the caches."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Run:
    """What streamlines follow, how, and until when; `step` in mm."""

    rule: Rule
    method: Method
    step: float
    limits: Limits
    unidirectional: bool


class Engine(Protocol):
    """A way to compute streamlines and their derivative."""

    def grow(self, run: Run, seeds: Tensor, directions: Tensor, progress: Progress | None) -> Trajectories:
        """Grow a streamline from each of `seeds` (S, 3) towards `directions` (S, 3)."""

    def pull_back(self, run: Run, trajectories: Trajectories, cotangents: Tensor) -> Pulled:
        """Return what the cotangents (P, 3) of the points mean for what they were made of."""


def engine_for(run: Run) -> Engine:
    """Return the compiled engine for what it knows, PyTorch otherwise.

    It knows Euler's and MRtrix's steps along peaks of degree 2 to 8 on the CPU.
    """
    rule = run.rule
    peaks = isinstance(rule, PeakRule) and rule.degree <= compiled.MAX_DEGREE
    steps = type(run.method) in {Euler, RungeKutta}
    return Compiled() if peaks and steps and rule.image.device.type == "cpu" else Eager()


@dataclass(frozen=True)
class Eager:
    """PyTorch."""

    def grow(self, run: Run, seeds: Tensor, directions: Tensor, progress: Progress | None) -> Trajectories:
        """See `Engine`."""
        blocks = []
        with torch.no_grad():
            for begin in range(0, len(seeds), _SEEDS_AT_ONCE):
                part = slice(begin, begin + _SEEDS_AT_ONCE)
                grown = grow(
                    run.rule,
                    run.method,
                    seeds[part],
                    directions[part],
                    step=torch.tensor(run.step, dtype=seeds.dtype, device=seeds.device),
                    limits=run.limits,
                    unidirectional=run.unidirectional,
                )
                blocks.append((grown, begin))
                if progress is not None:
                    progress(min(begin + _SEEDS_AT_ONCE, len(seeds)), len(seeds))
        return _joined(blocks, seeds)

    def pull_back(self, run: Run, trajectories: Trajectories, cotangents: Tensor) -> Pulled:
        """See `Engine`."""
        step = torch.tensor(run.step, dtype=torch.float64, device=cotangents.device)

        def move(image: Tensor, points: Tensor, references: Tensor, step: Tensor) -> Tensor:
            return run.method.move(run.rule, image, points, references, step).points

        return pull_back(move, trajectories, cotangents, image=run.rule.image, step=step)


@dataclass(frozen=True)
class Compiled:
    """Numba."""

    def grow(self, run: Run, seeds: Tensor, directions: Tensor, progress: Progress | None) -> Trajectories:
        """See `Engine`."""
        limits, rule = run.limits, _peaks(run)
        grown = compiled.grow(
            polynomial_image(rule),
            seeds.numpy(),
            directions.numpy(),
            compiled.Settings(
                step=run.step,
                cosine=limits.cosine,
                cutoff=limits.cutoff,
                most_points=limits.most_points,
                least_points=limits.least_points,
                unidirectional=run.unidirectional,
                rk4=isinstance(run.method, RungeKutta),
                sharpen=rule.ascent.sharpen,
            ),
            regions=regions_of(limits),
            progress=None if progress is None else lambda done: progress(done, len(seeds)),
        )
        points, offsets, rows, indices, directions = (torch.from_numpy(array) for array in grown)
        after = directions if run.unidirectional else -directions
        return Trajectories(points, offsets, rows, indices, directions, after)

    def pull_back(self, run: Run, trajectories: Trajectories, cotangents: Tensor) -> Pulled:
        """See `Engine`."""
        gradients = compiled.pull_back(
            polynomial_image(_peaks(run)),
            compiled.Grown(
                trajectories.points.numpy(),
                trajectories.offsets.numpy(),
                trajectories.seed_rows.numpy(),
                trajectories.seed_indices.numpy(),
                trajectories.before.numpy(),
            ),
            np.ascontiguousarray(cotangents.numpy()),
            step=run.step,
            rk4=isinstance(run.method, RungeKutta),
        )
        step = torch.tensor(gradients.step, dtype=torch.float64)
        return Pulled(torch.from_numpy(gradients.values), torch.from_numpy(gradients.seeds), step)


def _peaks(run: Run) -> PeakRule:
    if not isinstance(run.rule, PeakRule):
        raise TypeError(f"rule is a {type(run.rule).__name__}; the compiled engine knows peaks only")
    return run.rule


def _joined(blocks: list[tuple[Trajectories, int]], seeds: Tensor) -> Trajectories:
    """Lay blocks end to end; each comes with the index of its first seed."""
    parts = [block for block, _ in blocks]
    none = torch.zeros(0, dtype=torch.int64, device=seeds.device)
    counts = torch.cat([none, *(part.offsets.diff() for part in parts)])
    bases = torch.tensor([0, *(len(part.points) for part in parts)]).cumsum(0).tolist()
    return Trajectories(
        torch.cat([seeds[:0], *(part.points for part in parts)]),
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        torch.cat([none, *(part.seed_rows + base for part, base in zip(parts, bases, strict=False))]),
        torch.cat([none, *(part.seed_indices + begin for part, begin in blocks)]),
        torch.cat([seeds[:0], *(part.before for part in parts)]),
        torch.cat([seeds[:0], *(part.after for part in parts)]),
    )

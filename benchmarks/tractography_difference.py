"""How a streamline differs from another that grew from the same seed, and which decision made it so.

A streamline is a chain of decisions (amplitude, angle, mask, the peak that an ascent ends at, whether it ends
within its 50 steps) that rounding can tip. The one that parts two streamlines is found by taking the step
there again, from many positions as far from it as the two are apart: the decision that does not come out the
same from all of them is the cause. Where all of them are clear, the seed is moved by 1e-6, 1e-5 and 1e-4 mm
in many directions: a streamline that then ends elsewhere, though nothing else changed, is chaotic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from torrey.tractography import Region, Streamlines, peaks
from torrey.tractography.propagation.rules import Rule
from torrey.tractography.propagation.stepping import Method

FAR = 0.1  # mm
JITTER = 1e-4  # mm; streamlines of two programs are that far apart where nothing is undecided
MOVES = (1e-6, 1e-5, 1e-4)  # mm; coordinates in float32, as MRtrix's, are 4e-6 apart at 50 mm
_TRIES = 64
_PARTED = 10 * JITTER
_LONG = 30  # steps of an ascent that rounding may bring to 50


class Seeded(NamedTuple):
    """Points (n, 3) in mm and which of them is the seed."""

    points: np.ndarray
    place: int

    @property
    def turned(self) -> Seeded:
        """The same, from the other end."""
        return Seeded(self.points[::-1], len(self.points) - 1 - self.place)


class Difference(NamedTuple):
    """Hausdorff distance and largest deviation at the same step from the seed, mm; mean angle, degrees."""

    hausdorff: float
    deviation: float
    angle: float


def common(ours: Seeded, theirs: Seeded) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the points that both have, counted from the seed, and the place of the seed in these."""
    before = min(ours.place, theirs.place)
    after = min(len(s.points) - s.place for s in (ours, theirs))
    a, b = (s.points[s.place - before : s.place + after] for s in (ours, theirs))
    return a, b, before


def facing(ours: Seeded, theirs: Seeded) -> Seeded:
    """Return ours in the order in which it is nearer to theirs."""

    def apart(some: Seeded) -> float:
        a, b, _ = common(some, theirs)
        return float(np.linalg.norm(a - b, axis=1).mean()) + (math.inf if len(a) < 2 else 0.0)

    forward, backward = apart(ours), apart(ours.turned)
    return ours.turned if backward < forward else ours


def difference(ours: Seeded, theirs: Seeded) -> Difference:
    """Compare two streamlines, up to reversal."""
    ours = facing(ours, theirs)
    a, b, _ = common(ours, theirs)
    deviation = float(np.linalg.norm(a - b, axis=1).max())
    hausdorff = deviation
    if deviation >= FAR or len(ours.points) != len(theirs.points):
        apart = cdist(ours.points, theirs.points)
        hausdorff = float(max(apart.min(0).max(), apart.min(1).max()))
    steps = [np.diff(points, axis=0) for points in (a, b)]
    u, v = (step / np.linalg.norm(step, axis=1, keepdims=True) for step in steps)
    angle = 2 * np.arcsin(np.clip(np.linalg.norm(u - v, axis=1) / 2, 0, 1))
    return Difference(hausdorff, deviation, math.degrees(angle.mean()) if len(angle) else 0.0)


class Walk(NamedTuple):
    """What streamlines followed, how, and when they had to end."""

    rule: Rule
    method: Method
    step: float
    cutoff: float
    cosine: float
    most_points: int
    mask: Region | None


def cause(walk: Walk, ours: Seeded, theirs: Seeded) -> str:
    """Name the decision at which two streamlines part, or `""` where none of them is close."""
    ours = facing(ours, theirs)
    found = []
    for one, other in ((ours, theirs), (ours.turned, theirs.turned)):
        a, b, before = common(one, other)
        apart = np.linalg.norm(a[before:] - b[before:], axis=1)
        parted = int(np.argmax(apart > _PARTED)) if (apart > _PARTED).any() else len(apart)
        left = [len(s.points) - s.place - parted for s in (one, other)]
        if parted == len(apart) and left[0] == left[1]:
            continue
        if parted == len(apart) and walk.most_points in {len(ours.points), len(theirs.points)}:
            found.append("length cap")
            continue
        found.append(_undecided(walk, one, parted - 1, max(JITTER, apart[parted - 1])))
    return "; ".join(dict.fromkeys(name for name in found if name))


def _undecided(walk: Walk, line: Seeded, steps: int, size: float) -> str:
    """Name what changes within `size` mm of the point so many steps after the seed."""
    points, place = line.points, line.place
    at = place + steps
    along = points[at] - points[at - 1] if at > 0 else points[at] - points[at + 1]
    generator = torch.Generator().manual_seed(0)
    jitter = torch.randn(2, _TRIES, 3, generator=generator, dtype=torch.float64)
    jitter *= size / jitter.norm(dim=-1, keepdim=True)
    here = torch.as_tensor(points[at].copy()).double() + jitter[0]
    before = torch.as_tensor(along / np.linalg.norm(along)).double() + jitter[1] / walk.step
    before = before / before.norm(dim=1, keepdim=True)
    step = torch.tensor(walk.step, dtype=torch.float64)
    move = walk.method.move(walk.rule, walk.rule.image, here, before, step)
    turn = walk.method.turn(walk.rule, before, move)
    stages = [*move.stages, turn.stage]
    cosines = (turn.before * turn.after).sum(-1)
    amplitudes = torch.stack([heading.amplitudes for _, heading in stages]).min(0).values

    def tips(decisions: Tensor) -> bool:
        return bool(decisions.any() and not decisions.all())

    with mock.patch.object(peaks, "MAX_ITERATIONS", _LONG):
        hurried = walk.method.move(walk.rule, walk.rule.image, here, before, step)
    tests = {
        "50 steps of the ascent": any(tips(heading.found) for _, heading in stages),
        "cutoff": tips(amplitudes >= walk.cutoff),
        "angle": tips(cosines >= walk.cosine),
        "edge of the image": any(tips(walk.rule.support.contains(place)) for place, _ in stages),
        "edge of the mask": walk.mask is not None and tips(walk.mask.contains(move.points)),
        f"ascent of over {_LONG} steps": not all(bool(heading.found.all()) for _, heading in hurried.stages),
        "two peaks": any(_spread(heading.directions) > 0.01 for _, heading in stages),
    }
    return next((name for name, tipped in tests.items() if tipped), "")


def _spread(directions: Tensor) -> float:
    """Return the largest distance of unit vectors (n, 3) from the first, up to sign."""
    first = directions[0]
    apart = torch.minimum((directions - first).norm(dim=1), (directions + first).norm(dim=1))
    return float(apart.max())


def tipping_moves(
    grow: Callable[[Tensor, Tensor], Streamlines], seeds: Tensor, directions: Tensor, tries: int = 6
) -> list[float]:
    """Return the least of `MOVES` by which each of `seeds` (n, 3) has to be moved to end elsewhere; else inf.

    `grow` returns the streamlines of seeds and directions (n, 3). To end nowhere counts, too.
    """
    jitter = torch.randn(tries, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jitter /= jitter.norm(dim=1, keepdim=True)
    moves = torch.cat([torch.zeros(1, 3, dtype=torch.float64), *(size * jitter for size in MOVES)])
    moved = (seeds.double()[:, None] + moves).reshape(-1, 3)
    lines = by_seed(grow(moved, directions.repeat_interleave(len(moves), dim=0)))

    def ends_elsewhere(one: int, other: int) -> bool:
        if one in lines and other in lines:
            return difference(lines[one], lines[other]).hausdorff >= FAR
        return one in lines or other in lines

    least = []
    for still in range(0, len(seeds) * len(moves), len(moves)):
        tipped = (
            size for k, size in enumerate(np.repeat(MOVES, tries)) if ends_elsewhere(still, still + 1 + k)
        )
        least.append(float(next(tipped, math.inf)))
    return least


def by_seed(tracks: Streamlines) -> dict[int, Seeded]:
    """Return streamlines by the index of their seed."""
    assert tracks.seed_indices is not None
    assert tracks.seed_places is not None
    columns = (tracks.seed_indices.tolist(), tracks, tracks.seed_places.tolist())
    return {
        seed: Seeded(points.detach().numpy(), place) for seed, points, place in zip(*columns, strict=True)
    }

"""Points put between those of streamlines, on the Hermite spline through them that MRtrix uses."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .grid import Grid
from .streamlines import Streamlines

TENSION = 0.1
"""Of the spline; 0 is Catmull and Rom's, 1 is straight."""


def hermite(controls: Tensor, mu: Tensor) -> Tensor:
    """Return the points (M, 3) at `mu` (M,) in 0 … 1 between the middle two of `controls` (4, M, 3)."""
    slope = (1 - TENSION) / 2  # of the spline at a point: this times the chord between its neighbours
    before, begin, end, after = controls
    mu = mu[:, None]
    square = mu * mu
    cube = mu * square
    # one weight for each point, in this order: in float32 the sums then round as MRtrix's
    point: Tensor = (
        slope * (2 * square - cube - mu) * before
        + (1 + (2 - slope) * cube - (3 - slope) * square) * begin
        + ((3 - 2 * slope) * square + slope * mu - (2 - slope) * cube) * end
        + slope * (cube - square) * after
    )
    return point


def neighbours(streamlines: Streamlines) -> tuple[Tensor, Tensor]:
    """Return the index (M,) of the first point of every segment, and the four points (4, M, 3) around it.

    Beyond an end of a streamline the last segment is continued straight.
    """
    points, owners = streamlines.points, streamlines.owners
    first = (owners[1:] == owners[:-1]).nonzero()[:, 0]
    begin, end = points[first], points[first + 1]
    last = len(points) - 1
    previous, following = (first - 1).clamp(min=0), (first + 2).clamp(max=last)
    has_previous = (first > 0) & (owners[previous] == owners[first])
    has_following = (first + 2 <= last) & (owners[following] == owners[first])
    before = torch.where(has_previous[:, None], points[previous], 2 * begin - end)
    after = torch.where(has_following[:, None], points[following], 2 * end - begin)
    return first, torch.stack([before, begin, end, after])


def upsample_ratio(step: float, grid: Grid, fraction: float) -> int:
    """Return into how many parts `tckmap` cuts each step (mm), so that none exceeds a `fraction` of a voxel.

    Raises
    ------
    InputError
        When the step is not positive.
    """
    if not 0 < step < math.inf:
        raise InputError(f"step is {step:g} mm; expected a positive number")
    # MRtrix holds both in float32, which decides where the division comes out whole
    step, fraction = torch.tensor([step, fraction], dtype=torch.float32).double().tolist()
    return math.ceil(step / (float(grid.voxel_sizes.min()) * fraction))


def upsampled(streamlines: Streamlines, ratio: int) -> Streamlines:
    """Return `streamlines` with `ratio` − 1 points between every two."""
    if ratio == 1:
        return streamlines
    first, controls = neighbours(streamlines)
    counts = streamlines.n_points
    counts = torch.where(counts > 0, (counts - 1) * ratio + 1, counts)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    owners = streamlines.owners
    place = torch.arange(len(owners), device=owners.device) - streamlines.offsets[owners]
    place = offsets[owners] + ratio * place
    points = streamlines.points.new_empty(int(offsets[-1]), 3)
    points = points.index_copy(0, place, streamlines.points)
    for part in range(1, ratio):
        between = hermite(controls, controls.new_full((len(first),), part / ratio))
        points = points.index_copy(0, place[first] + part, between)
    return Streamlines(points, offsets, streamlines.seed_indices)

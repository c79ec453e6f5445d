"""Track density images: how many streamlines pass through each voxel, or what length of them.

`track_counts` and `track_lengths` are MRtrix's `tckmap`, by default and with `-precise` (Calamante et al.,
NeuroImage 53, 1233, 2010; Smith et al., NeuroImage 67, 298, 2013). They jump when a point changes its voxel;
`track_density` shares each piece of a streamline between the eight voxels around, and has gradients.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InputError
from .grid import Grid
from .interpolation import corners
from .resample import hermite, neighbours, upsample_ratio, upsampled
from .streamlines import Streamlines


def track_counts(
    streamlines: Streamlines, grid: Grid, *, step: float | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return how many streamlines have a point in each voxel (X, Y, Z); differentiable in `weights` alone.

    Parameters
    ----------
    streamlines : Streamlines
        Points in mm.
    grid : Grid
        The image to make.
    step : float, optional
        mm from point to point. Where that is more than a third of a voxel, points are put between, as
        `tckmap` does with the `step_size` in the header of the file. Without it points are taken as they are.
    weights : (S,) Tensor, optional
        What each streamline counts; 1 without.
    """
    if step is not None:
        streamlines = upsampled(streamlines, upsample_ratio(step, grid, 0.333))
    voxels = grid.voxel_of(streamlines.points.detach())
    pairs = (streamlines.owners * grid.n_voxels + voxels)[voxels >= 0].unique_consecutive().unique()
    values = _weights(streamlines, weights)[pairs // grid.n_voxels]
    return _image(grid, pairs % grid.n_voxels, values)


def track_lengths(
    streamlines: Streamlines, grid: Grid, *, step: float | None = None, weights: Tensor | None = None
) -> Tensor:
    """Return the length of streamlines, mm, in each voxel (X, Y, Z); differentiable in `weights` alone.

    A streamline follows a Hermite spline through its points where it goes from voxel to voxel, and where it
    does so is found by bisection, to 0.005 of a voxel: MRtrix's rule, in its order. Parameters as of
    `track_counts`, but points are put between where `step` is more than a tenth of a voxel.
    """
    # in float32 as MRtrix: on which side of a face a point falls decides on lengths of up to that 0.005
    streamlines = replace(streamlines, points=streamlines.points.detach().float())
    if step is not None:
        streamlines = upsampled(streamlines, upsample_ratio(step, grid, 0.1))
    first, controls = neighbours(streamlines)
    values = _weights(streamlines, weights).double()[streamlines.owners[first]]
    begin, end = grid.nearest(controls[1]), grid.nearest(controls[2])
    stays = (begin == end).all(-1)
    image = _image(
        grid, grid.flat(begin[stays]), values[stays] * (controls[2] - controls[1])[stays].norm(dim=1)
    )
    controls, voxel, end, values = controls[:, ~stays], begin[~stays], end[~stays], values[~stays]
    entry, mu = controls[1], controls.new_zeros(len(values))
    while len(values):
        leaves, following, mu = _next_crossing(controls, entry, mu, voxel, grid=grid)
        image += _image(grid, grid.flat(voxel), values * (leaves - entry).norm(dim=1))
        arrived = (following == end).all(-1)
        rest = (controls[2] - leaves).norm(dim=1)
        image += _image(grid, grid.flat(end[arrived]), (values * rest)[arrived])
        controls, voxel, end = controls[:, ~arrived], following[~arrived], end[~arrived]
        entry, mu, values = leaves[~arrived], mu[~arrived], values[~arrived]
    return image


def track_density(
    streamlines: Streamlines, grid: Grid, *, pieces: int = 1, weights: Tensor | None = None
) -> Tensor:
    """Return the length of streamlines, mm, shared trilinearly between voxels (X, Y, Z); differentiable.

    Each of the `pieces` of a segment goes to the eight voxels around its middle: the midpoint rule for the
    integral of the trilinear weights along the streamline, with an error that falls as 1/pieces². The sum
    of the image is the length of the pieces whose middle lies in it; within half a voxel of its faces all
    goes to the outermost voxels. Gradients reach the points and `weights`.

    Raises
    ------
    InputError
        When `pieces` is not positive, or there is not one weight for each streamline.
    """
    if pieces < 1:
        raise InputError(f"pieces is {pieces}; expected at least 1")
    owners = streamlines.owners
    first = (owners[1:] == owners[:-1]).nonzero()[:, 0]
    begin, along = streamlines.points[first], streamlines.points[first + 1] - streamlines.points[first]
    values = _weights(streamlines, weights)[owners[first]] * along.norm(dim=1) / pieces
    image: Tensor = values.new_zeros(grid.n_voxels)
    for piece in range(pieces):
        middle = begin + (piece + 0.5) / pieces * along
        inside = grid.voxel_of(middle.detach()) >= 0
        voxels, shares = corners(grid, middle[inside])
        image = image.index_add(0, voxels.flatten(), (shares * values[inside, None]).flatten())
    return image.reshape(grid.shape)


def _next_crossing(
    controls: Tensor, entry: Tensor, mu: Tensor, voxel: Tensor, *, grid: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each curve leaves `voxel`, the voxel that follows, and the parameter last looked at."""
    low, high = mu, torch.ones_like(mu)
    inside, outside, following = entry, controls[2], grid.nearest(controls[2])
    accuracy = 0.005 * float(grid.voxel_sizes.min())
    while True:
        apart = (inside - outside).norm(dim=1) > accuracy
        if not bool(apart.any()):
            return outside, following, mu
        mu = torch.where(apart, (low + high) / 2, mu)
        point = hermite(controls, mu)
        found = grid.nearest(point)
        same = (found == voxel).all(-1)
        stay, go = apart & same, apart & ~same
        low, inside = torch.where(stay, mu, low), torch.where(stay[:, None], point, inside)
        high, outside = torch.where(go, mu, high), torch.where(go[:, None], point, outside)
        following = torch.where(go[:, None], found, following)


def _weights(streamlines: Streamlines, weights: Tensor | None) -> Tensor:
    if weights is None:
        return streamlines.points.new_ones(len(streamlines))
    if weights.shape != (len(streamlines),):
        raise InputError(f"weights have shape {tuple(weights.shape)}; expected ({len(streamlines)},)")
    return weights


def _image(grid: Grid, voxels: Tensor, values: Tensor) -> Tensor:
    """Return the sums of `values` in `voxels`, flat indices of which −1 are outside."""
    inside = voxels >= 0
    flat = values.new_zeros(grid.n_voxels).index_add(0, voxels[inside], values[inside])
    return flat.reshape(grid.shape)

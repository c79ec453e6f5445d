"""Trilinear interpolation as MRtrix does it, in images that are flat: (voxels, channels)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .grid import Grid
from .regions import Region


def corners(grid: Grid, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flat indices (n, 8) of the voxels around `points` (n, 3) and their weights (n, 8).

    Weights are differentiable in the points. Beyond the outermost centres the image goes on unchanged.
    """
    sizes = torch.tensor(grid.shape, device=points.device)
    voxels = torch.minimum(grid.to_voxels(points).clamp_min(0), (sizes - 1).to(points))
    base = torch.minimum(voxels.detach().long(), (sizes - 2).clamp_min(0))
    beyond = torch.minimum(base + 1, sizes - 1)
    upper = voxels - base
    return combined(grid, torch.stack([base, beyond], -1), torch.stack([1 - upper, upper], -1))


def combined(grid: Grid, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flat indices and weights (n, 8) of corners that have two of each (n, 3, 2) along an axis."""
    nx, ny, nz = index.unbind(1)
    wx, wy, wz = weight.unbind(1)
    rows = (nx[:, :, None] * grid.shape[1] + ny[:, None, :])[..., None] * grid.shape[2] + nz[:, None, None, :]
    weights = (wx[:, :, None] * wy[:, None, :])[..., None] * wz[:, None, None, :]
    return rows.flatten(1), weights.flatten(1)


def interpolate(image: Tensor, grid: Grid, points: Tensor) -> Tensor:
    """Return the values (n, C) of a flat image (V, C) at `points` (n, 3), differentiable in both."""
    rows, weights = corners(grid, points)
    return functional.embedding_bag(rows, image, per_sample_weights=weights.to(image.dtype), mode="sum")


def support(image: Tensor, grid: Grid) -> Region:
    """Return where a flat image (V, C) holds something: MRtrix takes voxels that are all zero as outside."""
    return Region((image.detach() != 0).any(-1).view(grid.shape), grid.affine)

"""Where an image lies: its number of voxels along each axis and the affine from voxel indices to mm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxels of an image.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along each axis.
    affine : (4, 4) Tensor
        Voxel indices, centres at integers, to mm in world RAS+ (NIfTI). float64.

    Raises
    ------
    InputError
        When a size is not positive, or the affine is not (4, 4), not finite or not invertible.
    """

    shape: tuple[int, int, int]
    affine: Tensor

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"shape is {tuple(self.shape)}; expected three positive numbers of voxels")
        affine = torch.as_tensor(self.affine, dtype=torch.float64)
        if affine.shape != (4, 4) or not bool(affine.isfinite().all()):
            raise InputError(f"affine has shape {tuple(affine.shape)}; expected (4, 4), every entry finite")
        if float(torch.linalg.det(affine[:3, :3]).abs()) < 1e-12:
            raise InputError("affine is singular; expected one that takes voxels to mm")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    @cached_property
    def world_to_voxel(self) -> Tensor:
        """(4, 4) inverse of `affine`."""
        inverse: Tensor = torch.linalg.inv(self.affine)
        return inverse

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def voxel_sizes(self) -> Tensor:
        """(3,) edge lengths of a voxel, mm."""
        sizes: Tensor = self.affine[:3, :3].norm(dim=0)
        return sizes

    @property
    def voxel_size(self) -> float:
        """Geometric mean of the edge lengths, mm, in which MRtrix counts its default steps and lengths."""
        return float(self.voxel_sizes.prod() ** (1 / 3))

    @cached_property
    def axes(self) -> Tensor:
        """(3, 3) unit vectors along the axes of the image, in world axes, as columns."""
        axes: Tensor = self.affine[:3, :3] / self.voxel_sizes
        return axes

    @cached_property
    def world_to_axes(self) -> Tensor:
        """(3, 3) inverse of `axes`."""
        inverse: Tensor = torch.linalg.inv(self.axes)
        return inverse

    def to_voxels(self, points: Tensor) -> Tensor:
        """Return voxel coordinates (..., 3) of `points` (..., 3) in mm."""
        return _apply(self.world_to_voxel, points)

    def to_world(self, voxels: Tensor) -> Tensor:
        """Return points (..., 3) in mm of voxel coordinates (..., 3)."""
        return _apply(self.affine, voxels)

    def nearest(self, points: Tensor) -> Tensor:
        """Return the indices (..., 3) of the voxel, in the image or beyond, whose cell holds each point.

        Halves round away from zero, as `std::round` does in MRtrix.
        """
        voxels = self.to_voxels(points)
        whole = voxels.trunc()
        return (whole + voxels.sign() * ((voxels - whole).abs() >= 0.5)).long()

    def flat(self, voxels: Tensor) -> Tensor:
        """Return the flat index (...) of voxels (..., 3), −1 outside the image."""
        sizes = torch.tensor(self.shape, device=voxels.device)
        inside = ((voxels >= 0) & (voxels < sizes)).all(-1)
        flat = (voxels[..., 0] * self.shape[1] + voxels[..., 1]) * self.shape[2] + voxels[..., 2]
        return torch.where(inside, flat, -1)

    def voxel_of(self, points: Tensor) -> Tensor:
        """Return the flat index (...) of the voxel whose cell holds each point, −1 outside the image."""
        return self.flat(self.nearest(points))

    def matches(self, other: Grid) -> bool:
        """Tell whether `other` has the same voxels: equal shape, affine to 1e-3 of a voxel over the image."""
        if self.shape != other.shape:
            return False
        ends = [torch.tensor([0.0, n - 1.0], dtype=torch.float64) for n in self.shape]
        corners = torch.cartesian_prod(*ends)
        apart = (self.to_voxels(other.to_world(corners)) - corners).abs().max()
        return float(apart) < 1e-3


def _apply(affine: Tensor, points: Tensor) -> Tensor:
    affine = affine.to(points)
    return points @ affine[:3, :3].T + affine[:3, 3]

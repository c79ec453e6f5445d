"""`Region`: the voxels of an image that are not zero, as a part of space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..errors import InputError
from .grid import Grid


@dataclass(frozen=True, eq=False)
class Region:
    """A region of space: the voxels of an image, on a grid of its own, that are not zero.

    Parameters
    ----------
    image : (X, Y, Z) Tensor
        Non-zero inside.
    affine : (4, 4) Tensor
        Voxel indices to mm, world RAS+.
    """

    image: Tensor
    affine: Tensor

    def __post_init__(self) -> None:
        if self.image.dim() != 3:
            raise InputError(f"region has shape {tuple(self.image.shape)}; expected (X, Y, Z)")
        _ = self.grid

    @cached_property
    def grid(self) -> Grid:
        """The voxels."""
        x, y, z = self.image.shape
        return Grid((x, y, z), self.affine)

    @cached_property
    def flat(self) -> Tensor:
        """(V,) whether each voxel is inside."""
        return (self.image != 0).flatten()

    def contains(self, points: Tensor) -> Tensor:
        """Tell (n,) which `points` (n, 3) in mm lie in a voxel of the region."""
        voxels = self.grid.voxel_of(points)
        return (voxels >= 0) & self.flat[voxels.clamp_min(0)]

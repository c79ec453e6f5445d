"""Where streamlines end: thresholds on an image and masks, as DIPY's stopping criteria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ....errors import InputError
from ...grid import Grid
from ...interpolation import interpolate
from .maximum_direction import within


class Stopping(Protocol):
    """Tells which points a streamline may go on from."""

    def goes_on(self, grid: Grid, points: Tensor) -> Tensor:
        """Tell (n,) for `points` (n, 3) in mm, on the grid of the field."""


@dataclass(frozen=True, eq=False)
class ThresholdStopping:
    """Go on where an image, trilinearly interpolated, is above a threshold (`ThresholdStoppingCriterion`).

    Parameters
    ----------
    image : (X, Y, Z) Tensor
        On the grid of the field; fractional anisotropy, say.
    threshold : float
        The streamline ends at this value or below, and outside the image.
    """

    image: Tensor
    threshold: float

    def goes_on(self, grid: Grid, points: Tensor) -> Tensor:
        """Tell (n,) for `points` (n, 3) in mm."""
        check_shape(self.image, grid)
        values = interpolate(self.image.reshape(-1, 1).to(points.dtype), grid, points)[:, 0]
        return within(grid, points) & (values > self.threshold)


@dataclass(frozen=True, eq=False)
class BinaryStopping:
    """Go on where the nearest voxel of a mask is positive (`BinaryStoppingCriterion`).

    Parameters
    ----------
    mask : (X, Y, Z) Tensor
        On the grid of the field. Halfway between two voxels the even one counts.
    """

    mask: Tensor

    def goes_on(self, grid: Grid, points: Tensor) -> Tensor:
        """Tell (n,) for `points` (n, 3) in mm."""
        check_shape(self.mask, grid)
        nearest = grid.to_voxels(points).round().long()
        sizes = torch.tensor(grid.shape, device=points.device)
        inside = ((nearest >= 0) & (nearest < sizes)).all(-1)
        x, y, z = torch.where(inside[:, None], nearest, 0).unbind(-1)
        return inside & (self.mask[x, y, z] > 0)


def check_shape(image: Tensor, grid: Grid) -> None:
    """Raise InputError unless `image` has the shape of `grid`."""
    if tuple(image.shape) != grid.shape:
        raise InputError(
            f"the image to stop by has shape {tuple(image.shape)}; expected the field's {grid.shape}"
        )

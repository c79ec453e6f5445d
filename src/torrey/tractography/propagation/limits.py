"""Where streamlines end, and which of them are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..regions import Region


@dataclass(frozen=True, eq=False)
class Limits:
    """When a streamline stops and when it is kept, with MRtrix's meaning of each.

    Attributes
    ----------
    cutoff : float
        Least amplitude.
    cosine : float
        Least cosine of the angle between steps.
    most_points, least_points : int
        A streamline stops at the first, both halves together, and is kept from the second on.
    mask : Region or None
        Streamlines end before they leave it.
    include : tuple of Region
        Each must be entered for a streamline to be kept.
    exclude : tuple of Region
        None may be entered.
    """

    cutoff: float
    cosine: float
    most_points: int
    least_points: int
    mask: Region | None
    include: tuple[Region, ...]
    exclude: tuple[Region, ...]

    def allowed(self, points: Tensor) -> Tensor:
        """Tell (n,) which `points` (n, 3) the mask admits."""
        return (
            torch.ones_like(points[:, 0], dtype=torch.bool)
            if self.mask is None
            else self.mask.contains(points)
        )

    def visited(self, points: Tensor) -> Tensor:
        """Tell (n, number of include regions) where `points` (n, 3) are."""
        empty = torch.zeros(len(points), 0, dtype=torch.bool, device=points.device)
        return torch.cat([empty, *(region.contains(points)[:, None] for region in self.include)], 1)

    def forbidden(self, points: Tensor) -> Tensor:
        """Tell (n,) which `points` (n, 3) lie in a region that is excluded."""
        found = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for region in self.exclude:
            found = found | region.contains(points)
        return found


def steps_in(length: float, step: float) -> int:
    """Return the number of steps that `length` takes; a rest below 1e-4 of a step is rounding."""
    return math.ceil(length / step - 1e-4)

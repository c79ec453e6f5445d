"""Where streamlines end, and which of them are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ..regions import Region

_MIN_LENGTH, _MAX_LENGTH = 5, 100
"""Usual lengths in voxels: MRtrix's."""


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

    @classmethod
    def of(
        cls,
        *,
        voxel: float,
        step: float,
        angle: float,
        cutoff: float,
        lengths: tuple[float | None, float | None],
        mask: Region | None,
        include: Sequence[Region],
        exclude: Sequence[Region],
    ) -> Limits:
        """Return the limits of an angle in degrees and of least and greatest `lengths` in mm.

        Lengths that are not given are MRtrix's, 5 and 100 times `voxel`, mm.

        Raises
        ------
        InputError
            When a value is out of its range.
        """
        least, most = lengths
        least = _MIN_LENGTH * voxel if least is None else least
        most = _MAX_LENGTH * voxel if most is None else most
        if not 0 < step < math.inf:
            raise InputError(f"step is {step:g}; expected a positive length in mm")
        if not 0 < angle <= 90:
            raise InputError(f"angle is {angle:g}; expected degrees in (0, 90]")
        if not cutoff >= 0:
            raise InputError(f"cutoff is {cutoff:g}; expected 0 or more")
        if not 0 <= least <= most < math.inf:
            raise InputError(f"min_length {least:g} and max_length {most:g}; expected 0 ≤ min ≤ max, in mm")
        return cls(
            cutoff=cutoff,
            cosine=math.cos(math.radians(angle)),
            most_points=3 + steps_in(most, step),
            least_points=1 + steps_in(least, step),
            mask=mask,
            include=tuple(include),
            exclude=tuple(exclude),
        )

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

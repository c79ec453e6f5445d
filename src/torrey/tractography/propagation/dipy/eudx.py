"""`EuDX`: go along the peaks of the eight voxels around, interpolated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....errors import InputError
from ...fields import PeakField
from ...grid import Grid
from ...interpolation import combined
from ..rules import Heading


@dataclass(frozen=True)
class EuDX:
    """Go along the weighted mean of one peak from each of the eight voxels around.

    DIPY's `eudx_tracking` (Garyfallidis, PhD thesis, Cambridge 2012): of the peaks of a voxel that are
    stronger than `threshold` the one closest to the last direction counts, if it is within `angle` of it;
    its trilinear weight, and the sign that points onward, make the mean. Where voxels of less than
    `least_weight` in all agree, the streamline ends.

    Differentiable in the peaks and in the position, wherever no voxel changes its choice.

    Parameters
    ----------
    angle : float
        Degrees.
    threshold : float
        In units of the values of the peaks.
    least_weight : float
        Sum of the trilinear weights of the voxels that have such a peak.
    """

    angle: float = 60.0
    threshold: float = 0.0239
    least_weight: float = 0.5
    default_step: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.angle <= 90:
            raise InputError(f"angle is {self.angle}; expected degrees above 0, at most 90")
        if not 0 < self.least_weight <= 1:
            raise InputError(
                f"least_weight is {self.least_weight}; expected a sum of weights above 0, at most 1"
            )

    def rule(self, field: object) -> NeighbourRule:
        """Return the rule for a `PeakField`, whose values only decide which peaks count."""
        if not isinstance(field, PeakField):
            raise InputError(f"field is a {type(field).__name__}; expected a PeakField for EuDX")
        if field.values.requires_grad and torch.is_grad_enabled():
            raise InputError(
                "values want a gradient, and they only decide which peaks count; expected it of peaks"
            )
        peaks = field.peaks.double() @ field.grid.world_to_axes.T.to(field.peaks.device)
        # a peak after one that is too weak does not count either
        counts = (field.values > self.threshold).cummin(-1).values
        image = torch.where(counts[..., None], peaks, 0.0)
        cosine = math.cos(math.radians(self.angle))
        return NeighbourRule(field.grid, image.flatten(3).flatten(0, 2), cosine, self.least_weight)

    def seed_directions(self, field: PeakField, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return each seed (m,) as often as the nearest voxel has peaks above 0, and these (m, 3)."""
        sizes = torch.tensor(field.grid.shape, device=seeds.device)
        nearest = torch.minimum(field.grid.to_voxels(seeds).round().long().clamp_min(0), sizes - 1)
        voxel = nearest.unbind(-1)
        chosen = (field.values[voxel] > 0).nonzero()
        peaks = field.peaks.detach()[voxel][chosen[:, 0], chosen[:, 1]]
        return chosen[:, 0], normalize(peaks.to(seeds.dtype), dim=-1)


@dataclass(frozen=True, eq=False)
class NeighbourRule:
    """Peaks `image` (V, 3 K) in the axes of the image, zero where they do not count."""

    grid: Grid
    image: Tensor
    cosine: float
    least_weight: float

    rows_at_once: ClassVar[int] = 16384
    """Positions at once, so that the peaks around them, 3 MB each, stay in the cache."""

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the interpolated peaks, on the side of `references`; amplitudes are summed weights."""
        last = normalize(references @ self.grid.world_to_axes.T.to(points), dim=-1)
        rows, weights = self._corners(points)
        peaks = image.index_select(0, rows.flatten()).view(len(points), 8, -1, 3)
        along = (peaks.detach() * last[:, None, None, :]).sum(-1)
        if peaks.shape[2] > 1:
            closest = along.abs().argmax(2, keepdim=True)
            along = along.gather(2, closest)
            peaks = peaks.gather(2, closest[..., None].expand(-1, -1, 1, 3))
        along, peaks = along[:, :, 0], peaks[:, :, 0]
        agrees = (along.abs() >= self.cosine) & (along != 0)
        support = torch.where(agrees, weights, 0.0)
        mean = ((support * along.sign())[..., None] * peaks).sum(1)
        total = support.sum(1)
        return Heading(normalize(mean, dim=-1) @ self.grid.axes.T.to(mean), total, total >= self.least_weight)

    def _corners(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the voxels (n, 8) around, and their weights (n, 8), zero for those outside the image."""
        voxels = self.grid.to_voxels(points)
        lower = voxels.detach().floor()
        upper = voxels - lower
        both = torch.stack([lower, lower + 1], -1).long()  # (n, 3, 2)
        last = torch.tensor(self.grid.shape, device=points.device)[:, None] - 1
        index = torch.minimum(both.clamp_min(0), last)
        weight = torch.stack([1 - upper, upper], -1) * (index == both)
        return combined(self.grid, index, weight)

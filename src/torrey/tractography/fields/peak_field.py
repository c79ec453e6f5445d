"""`PeakField`: a few fibre directions in every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ...errors import InputError
from ..grid import Grid


@dataclass(frozen=True, eq=False)
class PeakField:
    """Fibre directions of every voxel, strongest first.

    Parameters
    ----------
    peaks : (X, Y, Z, K, 3) Tensor
        Unit vectors in world axes, of either sign; may carry gradients. What stands where there is no peak
        does not matter, as long as its value is no larger than the threshold of the algorithm.
    values : (X, Y, Z, K) Tensor
        Strength of each, from the largest: fractional anisotropy, quantitative anisotropy, FOD amplitude.
    affine : (4, 4) Tensor
        Voxel indices to mm, world RAS+.

    Raises
    ------
    InputError
        When shapes do not fit or a number is not finite.
    """

    peaks: Tensor
    values: Tensor
    affine: Tensor

    def __post_init__(self) -> None:
        if self.peaks.dim() != 5 or self.peaks.shape[-1] != 3 or self.peaks.shape[-2] < 1:
            raise InputError(f"peaks have shape {tuple(self.peaks.shape)}; expected (X, Y, Z, K, 3)")
        if self.values.shape != self.peaks.shape[:-1]:
            expected = tuple(self.peaks.shape[:-1])
            raise InputError(f"values have shape {tuple(self.values.shape)}; expected {expected}, one a peak")
        for name in ("peaks", "values"):
            if not bool(getattr(self, name).detach().isfinite().all()):
                raise InputError(f"{name} hold a number that is not finite")
        _ = self.grid

    @cached_property
    def grid(self) -> Grid:
        """The voxels."""
        x, y, z = self.peaks.shape[:3]
        return Grid((x, y, z), self.affine)

"""`SHField`: a fibre orientation distribution in every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ..grid import Grid
from ..harmonics import degree_of


@dataclass(frozen=True, eq=False)
class SHField:
    """Fibre orientation distributions as even spherical harmonics.

    Parameters
    ----------
    coefficients : (X, Y, Z, n) Tensor
        In MRtrix's basis, order and axes: see `torrey.tractography.harmonics`. May carry gradients.
    affine : (4, 4) Tensor
        Voxel indices to mm, world RAS+.

    Raises
    ------
    InputError
        When the image is not 4-D, its last size is no number of even harmonics, or a value is not finite.
    """

    coefficients: Tensor
    affine: Tensor

    def __post_init__(self) -> None:
        if self.coefficients.dim() != 4:
            raise InputError(
                f"coefficients have shape {tuple(self.coefficients.shape)}; expected (X, Y, Z, n)"
            )
        if degree_of(self.coefficients.shape[-1]) < 2:
            raise InputError("1 coefficient a voxel, which has no direction; expected degree 2 or more")
        if not bool(self.coefficients.detach().isfinite().all()):
            raise InputError("coefficients hold a value that is not finite")
        _ = self.grid

    @property
    def device(self) -> torch.device:
        """Where the image lives."""
        return self.coefficients.device

    @cached_property
    def grid(self) -> Grid:
        """The voxels."""
        x, y, z = self.coefficients.shape[:3]
        return Grid((x, y, z), self.affine)

    @property
    def degree(self) -> int:
        """Largest degree of the harmonics."""
        return degree_of(self.coefficients.shape[-1])

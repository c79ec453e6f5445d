"""`DiffusionField`: diffusion-weighted images, from which a tensor is fitted at each position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ..grid import Grid


@dataclass(frozen=True, eq=False)
class DiffusionField:
    """Diffusion-weighted images with their gradients.

    Parameters
    ----------
    images : (X, Y, Z, N) Tensor
        Signals; may carry gradients.
    affine : (4, 4) Tensor
        Voxel indices to mm, world RAS+.
    bvals : (N,) Tensor
        s/mm².
    directions : (N, 3) Tensor
        Gradient directions in world axes, unit vectors (any where b = 0).

    Raises
    ------
    InputError
        When the image is not 4-D, the numbers of volumes and gradients differ, or a value is not finite.
    """

    images: Tensor
    affine: Tensor
    bvals: Tensor
    directions: Tensor

    def __post_init__(self) -> None:
        if self.images.dim() != 4:
            raise InputError(f"images have shape {tuple(self.images.shape)}; expected (X, Y, Z, N)")
        n = self.images.shape[-1]
        if self.bvals.shape != (n,):
            raise InputError(f"{len(self.bvals)} bvals; expected {n}, one a volume")
        if self.directions.shape != (n, 3):
            raise InputError(f"directions have shape {tuple(self.directions.shape)}; expected ({n}, 3)")
        for name in ("images", "bvals", "directions"):
            if not bool(getattr(self, name).detach().isfinite().all()):
                raise InputError(f"{name} hold a value that is not finite")
        _ = self.grid

    @property
    def device(self) -> torch.device:
        """Where the image lives."""
        return self.images.device

    @cached_property
    def grid(self) -> Grid:
        """The voxels."""
        x, y, z = self.images.shape[:3]
        return Grid((x, y, z), self.affine)

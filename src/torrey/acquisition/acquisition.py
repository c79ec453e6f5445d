"""`Acquisition`: N diffusion-weighted measurements as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import units
from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Acquisition:
    """N pulsed-gradient spin-echo (PGSE) measurements.

    Parameters
    ----------
    gradients : (N, 3) Tensor
        Gradient vectors, mT/m. Gradients flow through them.
    small_delta, big_delta, echo_time : (N,) Tensor
        Pulse duration δ, pulse separation Δ and echo time, ms.

    Use `Acquisition.pgse` to make one from b-values and directions.
    """

    gradients: Tensor
    small_delta: Tensor
    big_delta: Tensor
    echo_time: Tensor

    @classmethod
    def pgse(
        cls,
        bvals: object,
        bvecs: object,
        *,
        small_delta: object,
        big_delta: object,
        echo_time: object = None,
    ) -> Acquisition:
        """Make an acquisition from b-values and unit directions.

        Parameters
        ----------
        bvals : (N,) array_like
            s/mm².
        bvecs : (N, 3) array_like
            Unit vectors; a row of b = 0 may be zero.
        small_delta, big_delta : scalar or (N,) array_like
            δ and Δ, ms, 0 < δ ≤ Δ.
        echo_time : scalar or (N,) array_like, optional
            ms, at least δ + Δ, which it is where not given.

        Raises
        ------
        InputError
            When a shape, a sign, a norm, a timing or a unit is wrong; the message names the row.
        """
        raise NotImplementedError

    @property
    def n_measurements(self) -> int:
        """Number of measurements N."""
        return len(self.gradients)

    @property
    def wave_vectors(self) -> Tensor:
        """q = γg (N, 3), rad/(µm ms)."""
        return units.wave_vectors(self.gradients)

    @property
    def bvals(self) -> Tensor:
        """b-values (N,), s/mm²."""
        return units.bval_from_gradient(self.gradients.norm(dim=1), self.small_delta, self.big_delta)

    @property
    def bvecs(self) -> Tensor:
        """Unit directions (N, 3); zero where there is no gradient."""
        return torch.nn.functional.normalize(self.gradients, dim=1)

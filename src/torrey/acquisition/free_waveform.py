"""Gradients that turn in space: effective gradients in three dimensions, sampled on a raster."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .checks import LONGEST_TIME, check_finite, float64
from .waveforms import AbstractWaveform

_UNBALANCED = 1e-3
"""Largest |∫f dt| over ∫|f|dt: rounding and rasters of scanners are below, a forgotten refocusing above."""

_TURNED = 1e-9
"""1 + u_z under which an axis counts as −z, where the least rotation from z is not unique."""


@dataclass(frozen=True, eq=False)
class FreeWaveform(AbstractWaveform):
    """An effective gradient in three dimensions over time, constant on each cell of a raster.

    Refocusing is in it: the samples after a refocusing pulse are turned around, and they add up to zero. A
    measurement scales the waveform by the length of its gradient vector and rotates it by the least rotation
    that takes z there.

    Parameters
    ----------
    samples : (K, 3) Tensor or array_like
        Mean over each cell, relative to the amplitude of a measurement. Gradients flow through them.
    raster : float
        Duration of a cell, ms.

    Raises
    ------
    InputError
        When a shape or the raster is wrong, a sample is not finite, or the samples do not add up to zero.
    """

    samples: Tensor
    raster: float

    def __post_init__(self) -> None:
        samples = float64(self.samples, "FreeWaveform: samples")
        if samples.ndim != 2 or samples.shape[1] != 3 or len(samples) < 2:
            raise InputError(
                f"FreeWaveform: samples have shape {tuple(samples.shape)}, expected (K, 3) with K ≥ 2"
            )
        check_finite(samples, "sample", "relative to the amplitude", place="FreeWaveform: row {}".format)
        if not (self.raster > 0 and self.raster * len(samples) <= LONGEST_TIME):
            raise InputError(
                f"FreeWaveform: {len(samples)} cells of {self.raster} ms, expected a positive raster and at "
                f"most {LONGEST_TIME:g} ms in all"
            )
        left, whole = samples.detach().sum(0).norm(), samples.detach().norm(dim=1).sum()
        if left > _UNBALANCED * whole:
            raise InputError(
                f"FreeWaveform: the samples leave {float(left / whole):.2g} of their integral at the end, "
                "expected none; turn around those after a refocusing pulse"
            )
        object.__setattr__(self, "samples", samples)

    @classmethod
    def of_gradients(cls, gradients: Tensor, raster: float) -> tuple[FreeWaveform, Tensor]:
        """Return the waveform of `gradients` (K, 3), mT/m, and the amplitude that scales it back to them.

        That is their largest length, or 1 where all are zero; derivatives flow through the waveform.
        """
        peak = gradients.detach().norm(dim=1).max()
        peak = torch.where(peak > 0, peak, torch.ones_like(peak))
        return cls(gradients / peak, raster), peak

    def __repr__(self) -> str:
        return f"FreeWaveform({len(self.samples)} cells of {self.raster:g} ms)"

    @property
    def running_integral(self) -> Tensor:
        """F (K + 1, 3) at the edges of the cells, ms."""
        return torch.cat([torch.zeros_like(self.samples[:1]), self.samples.cumsum(0)]) * self.raster

    @property
    def weighting_tensor(self) -> Tensor:
        """∫F Fᵀdt (3, 3), ms³, exact for F linear on each cell."""
        begin, end = self.running_integral[:-1], self.running_integral[1:]
        both: Tensor = begin.mT @ begin + end.mT @ end + (begin.mT @ end + end.mT @ begin) / 2
        return both * self.raster / 3

    def weighting_tensors(self, axes: Tensor, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return ∫F Fᵀdt (N, 3, 3), ms³, turned to `axes` (N, 3)."""
        turn = rotations_from_z(axes)
        return turn @ self.weighting_tensor.to(turn) @ turn.mT

    def turned(self, axes: Tensor) -> Tensor:
        """Return the samples (N, K, 3) turned to `axes` (N, 3), unit or zero vectors."""
        return self.samples.to(axes) @ rotations_from_z(axes).mT

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return tr ∫F Fᵀdt (N,), ms³."""
        trace: Tensor = self.weighting_tensor.diagonal().sum()
        return trace.expand_as(small_delta)

    def energy(self, small_delta: Tensor) -> Tensor:
        """Return ∫|f|²dt (N,), ms."""
        whole: Tensor = self.raster * self.samples.square().sum()
        return whole.expand_as(small_delta)

    def reach(self, small_delta: Tensor) -> Tensor:
        """Return the largest |F| (N,), ms."""
        largest: Tensor = self.running_integral.norm(dim=1).max()
        return largest.expand_as(small_delta)

    def duration(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return K times the raster (N,), ms."""
        return torch.full_like(small_delta, len(self.samples) * self.raster)


def rotations_from_z(axes: Tensor) -> Tensor:
    """Return the least rotation (N, 3, 3) that takes z to each of `axes` (N, 3), unit or zero vectors.

    About x where the axis is −z, and none where it is zero.
    """
    x, y, z = torch.where((axes == 0).all(1, keepdim=True), axes.new_tensor([0, 0, 1]), axes).unbind(1)
    opposite = 1 + z < _TURNED
    over = 1 / torch.where(opposite, torch.ones_like(z), 1 + z)
    rows = [1 - x * x * over, -x * y * over, x, -x * y * over, 1 - y * y * over, y, -x, -y, z]
    turned = torch.diag(axes.new_tensor([1, -1, -1]))
    return torch.where(opposite[:, None, None], turned, torch.stack(rows, dim=1).view(-1, 3, 3))

"""Shapes of diffusion gradients over time: pulses of duration δ, the second of a pair Δ after the first.

A waveform f(t) is the effective gradient, which a refocusing pulse turns around, over its amplitude; its
integral over the whole time vanishes. With F its running integral, b = q²∫F²dt. Waveforms that turn in space
are in `free_waveform`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import units
from ..errors import InputError


class AbstractWaveform(ABC):
    """The shape of a gradient over time, an immutable value that compares by its parameters."""

    @abstractmethod
    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return ∫|F|²dt (N,), ms³, for δ and Δ (N,), ms."""

    @abstractmethod
    def weighting_tensors(self, axes: Tensor, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return ∫F Fᵀdt (N, 3, 3), ms³, for gradients along `axes` (N, 3), unit or zero vectors."""

    @abstractmethod
    def energy(self, small_delta: Tensor) -> Tensor:
        """Return ∫|f|²dt (N,), ms."""

    @abstractmethod
    def reach(self, small_delta: Tensor) -> Tensor:
        """Return the largest |F| (N,), ms, so that q times it is the phase wound along a length, rad/µm."""

    @abstractmethod
    def duration(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return the time (N,) from the start of the first gradient to the end of the last, ms."""


class AbstractPulses(AbstractWaveform):
    """Pulses along one axis that repeat one shape of duration δ, some of them turned around."""

    def weighting_tensors(self, axes: Tensor, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return ∫F²dt times u uᵀ (N, 3, 3), ms³, u the axis."""
        along = axes[:, :, None] * axes[:, None]
        return self.weighting(small_delta, big_delta)[:, None, None] * along

    @abstractmethod
    def running_integral(self, time: Tensor, small_delta: float) -> Tensor:
        """Return the integral of one pulse from its start to `time`, ms."""

    def pulse_duration(self, small_delta: Tensor) -> Tensor:
        """Return how long one pulse lasts, ms: δ unless it has ramps."""
        return small_delta

    def breaks(self, small_delta: float) -> tuple[float, ...]:
        """Return times in a pulse, ms, between which f is smooth and varies little; its start and end too."""
        return (0.0, small_delta)

    def pulses(self, small_delta: Tensor, big_delta: Tensor) -> tuple[tuple[Tensor, float], ...]:
        """Return start, ms after that of the first, and sign of each pulse."""
        return ((0 * big_delta, 1.0), (big_delta, -1.0))

    def duration(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return the time from the start of the first pulse to the end of the last, ms."""
        last, _ = self.pulses(small_delta, big_delta)[-1]
        return last + self.pulse_duration(small_delta)


@dataclass(frozen=True)
class Pgse(AbstractPulses):
    """A pair of rectangular pulses (Stejskal and Tanner, J. Chem. Phys. 42 (1965) 288)."""

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return δ²(Δ − δ/3) (N,), ms³."""
        return units.pgse_diffusion_weighting(small_delta, big_delta)

    def energy(self, small_delta: Tensor) -> Tensor:
        """Return 2δ."""
        return 2 * small_delta

    def reach(self, small_delta: Tensor) -> Tensor:
        """Return δ."""
        return small_delta

    def running_integral(self, time: Tensor, small_delta: float) -> Tensor:
        """Return t."""
        return time


@dataclass(frozen=True)
class DoublePgse(Pgse):
    """Two pairs of rectangular pulses along one axis, the second `pause` ms after the end of the first."""

    pause: float

    def __post_init__(self) -> None:
        if not (self.pause >= 0 and math.isfinite(self.pause)):
            raise InputError(f"DoublePgse: pause is {self.pause}, expected zero or positive (ms)")

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return 2δ²(Δ − δ/3) (N,), ms³."""
        return 2 * super().weighting(small_delta, big_delta)

    def energy(self, small_delta: Tensor) -> Tensor:
        """Return 4δ."""
        return 4 * small_delta

    def pulses(self, small_delta: Tensor, big_delta: Tensor) -> tuple[tuple[Tensor, float], ...]:
        """Return start and sign of the four pulses."""
        again = big_delta + small_delta + self.pause
        return (0 * big_delta, 1.0), (big_delta, -1.0), (again, 1.0), (again + big_delta, -1.0)


@dataclass(frozen=True)
class _Ogse(AbstractPulses):
    periods: int

    def __post_init__(self) -> None:
        if self.periods != int(self.periods) or self.periods < 1:
            raise InputError(f"{type(self).__name__}: periods is {self.periods}, expected 1, 2, …")

    def energy(self, small_delta: Tensor) -> Tensor:
        """Return δ."""
        return small_delta

    def breaks(self, small_delta: float) -> tuple[float, ...]:
        """Return the half periods."""
        halves = 2 * self.periods
        return tuple(small_delta * k / halves for k in range(halves + 1))


@dataclass(frozen=True)
class CosineOgse(_Ogse):
    """A pair of pulses cos(2πn t/δ), n `periods` (Does et al., Magn. Reson. Med. 49 (2003) 206)."""

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return δ³/(4π²n²) (N,), ms³."""
        return small_delta**3 / (2 * math.pi * self.periods) ** 2

    def running_integral(self, time: Tensor, small_delta: float) -> Tensor:
        """Return sin(ωt)/ω with ω = 2πn/δ."""
        turn = 2 * math.pi * self.periods / small_delta
        return torch.sin(turn * time) / turn

    def reach(self, small_delta: Tensor) -> Tensor:
        """Return 1/ω."""
        return small_delta / (2 * math.pi * self.periods)


@dataclass(frozen=True)
class SineOgse(_Ogse):
    """A pair of pulses sin(2πn t/δ) with n `periods`."""

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return 3δ³/(4π²n²) (N,), ms³."""
        return 3 * small_delta**3 / (2 * math.pi * self.periods) ** 2

    def running_integral(self, time: Tensor, small_delta: float) -> Tensor:
        """Return (1 − cos ωt)/ω with ω = 2πn/δ."""
        turn = 2 * math.pi * self.periods / small_delta
        return (1 - torch.cos(turn * time)) / turn

    def reach(self, small_delta: Tensor) -> Tensor:
        """Return 2/ω."""
        return small_delta / (math.pi * self.periods)


@dataclass(frozen=True)
class Trapezoid(AbstractPulses):
    """A pair of pulses that rise and fall in `ramp` ms each; δ is the flat top and one ramp."""

    ramp: float

    def __post_init__(self) -> None:
        if not (self.ramp > 0 and math.isfinite(self.ramp)):
            raise InputError(f"Trapezoid: ramp is {self.ramp}, expected positive (ms)")

    def weighting(self, small_delta: Tensor, big_delta: Tensor) -> Tensor:
        """Return δ²(Δ − δ/3) + ε³/30 − δε²/6 (N,), ms³, with ε the ramp."""
        square = units.pgse_diffusion_weighting(small_delta, big_delta)
        return square + self.ramp**3 / 30 - small_delta * self.ramp**2 / 6

    def energy(self, small_delta: Tensor) -> Tensor:
        """Return 2(δ − ε/3)."""
        return 2 * (small_delta - self.ramp / 3)

    def reach(self, small_delta: Tensor) -> Tensor:
        """Return δ."""
        return small_delta

    def pulse_duration(self, small_delta: Tensor) -> Tensor:
        """Return δ + ε, ms."""
        return small_delta + self.ramp

    def breaks(self, small_delta: float) -> tuple[float, ...]:
        """Return the corners of the trapezoid."""
        if self.ramp >= small_delta:
            raise InputError(
                f"Trapezoid: ramp is {self.ramp:g} ms, expected less than δ = {small_delta:g} ms"
            )
        return (0.0, self.ramp, small_delta, small_delta + self.ramp)

    def running_integral(self, time: Tensor, small_delta: float) -> Tensor:
        """Return t²/2ε, t − ε/2 and δ − s²/2ε on the parts, s the time until the end."""
        rise = time.clamp(max=self.ramp) ** 2 / (2 * self.ramp)
        left = (small_delta + self.ramp - time).clamp(max=self.ramp)
        fall = (self.ramp**2 - left**2) / (2 * self.ramp)
        return rise + (time.clamp(self.ramp, small_delta) - self.ramp) + fall

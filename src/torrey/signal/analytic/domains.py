"""Attenuation S/S(0) of PGSE with finite pulses inside perfect shapes with reflecting walls.

With the modes of the shape (`modes.py`), H = δ(DΛ/L² + iqLB) for a domain of size L and a gradient along x,

    E = Σₖ exp(−Dλₖ(Δ − δ)/L²) |(exp(−H) e₀)ₖ|²,

because H is symmetric and the second pulse is its complex conjugate. The cut of the basis is doubled until
E no longer changes.

Callaghan, J. Magn. Reson. 129, 74 (1997); Grebenkov, Rev. Mod. Phys. 79, 1077 (2007).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from ...acquisition import Acquisition
from ...errors import ConvergenceError, InputError
from .cases import Pulses, of_each_case
from .modes import MOST_MODES, Array, Modes, ball_modes, disc_modes, interval_modes

ModesOf = Callable[[float, int], Modes | None]

_FIRST_CUTOFF = 8.0

_REDUCTION = 8
"""A doubling of the cut divides the error by at least this, as it falls at least as the cube of the cut."""


@dataclass(frozen=True)
class Slab:
    """Two parallel walls `thickness` µm apart, with their normal along x; diffusion along y and z is free."""

    thickness: float

    def __post_init__(self) -> None:
        _check_length("thickness", self.thickness)

    @property
    def volume(self) -> float:
        """µm³ for one µm² of wall."""
        return self.thickness

    def attenuation(self, acquisition: Acquisition, diffusivity: float, *, tolerance: float = 1e-8) -> Tensor:
        """Return S/S(0) (N,) without relaxation, for `diffusivity` in µm²/ms, to `tolerance`."""
        pulses = _pulses(acquisition, diffusivity)
        weighting = pulses.delta**2 * (pulses.Delta - pulses.delta / 3)
        free = np.exp(-diffusivity * (pulses.q[:, 1:] ** 2).sum(axis=1) * weighting)
        q = np.abs(pulses.q[:, 0])
        along = _restricted(
            interval_modes, self.thickness, q, pulses, diffusivity=diffusivity, tolerance=tolerance
        )
        return torch.from_numpy(free * along)


@dataclass(frozen=True)
class Cylinder:
    """A circular cylinder along z with flat ends, µm; its two factors, across and along, are independent."""

    radius: float
    length: float

    def __post_init__(self) -> None:
        _check_length("radius", self.radius)
        _check_length("length", self.length)

    @property
    def volume(self) -> float:
        """µm³."""
        return math.pi * self.radius**2 * self.length

    def attenuation(self, acquisition: Acquisition, diffusivity: float, *, tolerance: float = 1e-8) -> Tensor:
        """Return S/S(0) (N,) without relaxation, for `diffusivity` in µm²/ms, to `tolerance`."""
        pulses = _pulses(acquisition, diffusivity)
        transverse, axial = np.hypot(pulses.q[:, 0], pulses.q[:, 1]), np.abs(pulses.q[:, 2])
        across = _restricted(
            disc_modes, self.radius, transverse, pulses, diffusivity=diffusivity, tolerance=tolerance
        )
        along = _restricted(
            interval_modes, self.length, axial, pulses, diffusivity=diffusivity, tolerance=tolerance
        )
        return torch.from_numpy(across * along)


@dataclass(frozen=True)
class Sphere:
    """A ball, µm."""

    radius: float

    def __post_init__(self) -> None:
        _check_length("radius", self.radius)

    @property
    def volume(self) -> float:
        """µm³."""
        return 4 / 3 * math.pi * self.radius**3

    def attenuation(self, acquisition: Acquisition, diffusivity: float, *, tolerance: float = 1e-8) -> Tensor:
        """Return S/S(0) (N,) without relaxation, for `diffusivity` in µm²/ms, to `tolerance`."""
        pulses = _pulses(acquisition, diffusivity)
        q = np.linalg.norm(pulses.q, axis=1)
        return torch.from_numpy(
            _restricted(ball_modes, self.radius, q, pulses, diffusivity=diffusivity, tolerance=tolerance)
        )


def _restricted(
    modes_of: ModesOf, size: float, q: Array, pulses: Pulses, *, diffusivity: float, tolerance: float
) -> Array:
    """Return the factor (N,) of the motion along the gradient, `q` (N,) being its wave number there."""

    def value(*case: float) -> float:
        return _converged(modes_of, size, case, diffusivity, tolerance)

    return of_each_case(value, q, pulses.delta, pulses.Delta)


def _converged(
    modes_of: ModesOf, size: float, case: Sequence[float], diffusivity: float, tolerance: float
) -> float:
    q, delta, _ = case
    phase = q * size * delta
    order = highest_order(phase)
    cutoff, values = max(_FIRST_CUTOFF, 0.75 * phase), list[float]()
    while (modes := modes_of(cutoff, order)) is not None:
        values.append(pulsed_attenuation(modes, size, case, diffusivity=diffusivity))
        # Two changes, as the error may pass through zero in one.
        if len(values) > 2 and _error(*values[-3:]) <= tolerance:
            return values[-1]
        cutoff *= 2
    raise ConvergenceError(
        f"analytic attenuation: {MOST_MODES} modes do not reach {tolerance:g} for a size of {size:g} µm at "
        f"q = {q:.3g} rad/(µm ms), small_delta = {delta:g} ms"
    )


def _error(first: float, second: float, third: float) -> float:
    """Return a bound for the error of the third of three values, each with twice the cut of the last."""
    return max(abs(third - second) / _REDUCTION, abs(second - first) / _REDUCTION**2)


def highest_order(phase: float) -> int:
    """Return the angular order n beyond which a pulse of `phase` qLδ excites nothing.

    Without diffusion the pulse multiplies by exp(iqδx), whose part of order n has the size of the Bessel
    function Jₙ(qLδ); diffusion only damps it. Beyond this order Jₙ < 1e-9.
    """
    return math.ceil(phase + 6 * math.cbrt(phase) + 5)


def pulsed_attenuation(modes: Modes, size: float, case: Sequence[float], *, diffusivity: float) -> float:
    """Return E of one measurement `case` (q in rad/(µm ms), δ, Δ in ms) in the given basis; size in µm."""
    q, small_delta, big_delta = case
    rates = diffusivity / size**2 * modes.rates
    pulse = small_delta * (np.diag(rates) + 1j * q * size * modes.position)
    after = expm(-pulse)[:, 0]
    return float(np.sum(np.exp(-rates * (big_delta - small_delta)) * np.abs(after) ** 2))


def _pulses(acquisition: Acquisition, diffusivity: float) -> Pulses:
    if not (math.isfinite(diffusivity) and diffusivity > 0):
        raise InputError(f"diffusivity: expected positive and finite (µm²/ms), got {diffusivity:g}")
    return Pulses.of(acquisition)


def _check_length(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: expected positive and finite (µm), got {value:g}")

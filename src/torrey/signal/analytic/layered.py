"""PGSE signals with finite pulses of concentric layers with permeable walls, each with its own D, T2 and ρ.

With the modes of `layers.py`, the uniform start ν in them, and t = (TE − δ − Δ)/2 before the first and after
the last pulse,

    S = Σₖ exp(−λₖ(Δ − δ)) |yₖ|²,   y = exp(−δ(Λ + iqX)) exp(−tΛ) ν,

because Λ and X are symmetric and the second pulse is the complex conjugate of the first. The number of radial
functions grows until S no longer changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.linalg import expm
from torch import Tensor

from ...acquisition import Acquisition
from ...acquisition.checks import row
from ...errors import ConvergenceError, InputError
from ..tissue import Tissue
from .cases import Pulses, of_each_case
from .domains import highest_order
from .layers import LayerModes, Layers, axial_modes, layer_modes
from .modes import MOST_MODES, Array

_FEWEST, _GROWTH = 4, 1.3
"""Functions a layer at first, and their growth, which divides the error by ten to a thousand."""

_ALIGNED = 1e-9
"""Share of a gradient along the axis, or across it, that is rounding."""


@dataclass(frozen=True)
class LayeredSphere:
    """Concentric spherical layers, the innermost a ball, with these outer `radii`, increasing, µm."""

    radii: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_radii("LayeredSphere", self.radii)

    @property
    def volumes(self) -> Tensor:
        """Volume (L,) of each layer, µm³."""
        return 4 / 3 * math.pi * torch.tensor([0.0, *self.radii], dtype=torch.float64).pow(3).diff()

    def signal(self, tissue: Tissue, acquisition: Acquisition, *, tolerance: float = 1e-8) -> Tensor:
        """Return ∫ρM (N,) at the echo time, µm³, to `tolerance` of ∫ρ, as `torrey.simulate` does on a mesh.

        Not differentiable.

        Parameters
        ----------
        tissue : Tissue
            Scalar diffusivities; layer i is compartment i. `permeability` of neighbours, one value each, and
            `surface_relaxivity` of the outermost layer.
        acquisition : Acquisition
            PGSE.

        Raises
        ------
        InputError
            When `tissue` has something else, or a measurement is not PGSE.
        ConvergenceError
            When the modes that can be held do not reach the tolerance.
        """
        last = len(self.radii) - 1
        for compartment in tissue.surface_relaxivity:
            if compartment != last:
                raise InputError(
                    f"LayeredSphere: surface_relaxivity of {compartment}, expected of the outermost, {last}"
                )
        speed = float(tissue.surface_relaxivity.get(last, torch.zeros(())).detach())
        layers = _layers("LayeredSphere", self.radii, tissue).with_wall(speed)
        pulses = Pulses.of(acquisition)
        modes_of = partial(_concentric, layers, 3)
        q = np.linalg.norm(pulses.q, axis=1)
        return torch.from_numpy(_signal(modes_of, self.radii[-1], q, pulses, tolerance))


@dataclass(frozen=True)
class LayeredCylinder:
    """Coaxial cylindrical layers along z with these outer `radii`, increasing, and flat ends, µm."""

    radii: tuple[float, ...]
    length: float

    def __post_init__(self) -> None:
        _check_radii("LayeredCylinder", self.radii)
        if not (self.length > 0 and math.isfinite(self.length)):
            raise InputError(f"LayeredCylinder: length is {self.length}, expected positive (µm)")

    @property
    def volumes(self) -> Tensor:
        """Volume (L,) of each layer, µm³."""
        return math.pi * self.length * torch.tensor([0.0, *self.radii], dtype=torch.float64).square().diff()

    def signal(self, tissue: Tissue, acquisition: Acquisition, *, tolerance: float = 1e-8) -> Tensor:
        """Return ∫ρM (N,) at the echo time, µm³, to `tolerance` of ∫ρ, as `torrey.simulate` does on a mesh.

        With one diffusivity the motions across and along the axis are independent, for any gradient. Where
        diffusivities differ, gradients must lie along the axis or across it, and walls reflect. Not
        differentiable.

        Parameters
        ----------
        tissue : Tissue
            Scalar diffusivities; layer i is compartment i. `permeability` of neighbours, one value each, and
            the same `surface_relaxivity` of all layers: the ends are walls of each.
        acquisition : Acquisition
            PGSE.

        Raises
        ------
        InputError
            When `tissue` has something else, or a measurement is not PGSE, or oblique where it may not be.
        ConvergenceError
            When the modes that can be held do not reach the tolerance.
        """
        layers, speed = _layers("LayeredCylinder", self.radii, tissue), self._relaxivity(tissue)
        pulses = Pulses.of(acquisition)
        across, along = np.hypot(pulses.q[:, 0], pulses.q[:, 1]), np.abs(pulses.q[:, 2])
        disc = partial(_signal, partial(_concentric, layers.with_wall(speed), 2), self.radii[-1])
        if np.ptp(layers.diffusivity) == 0:
            ends = Layers.one(self.length / 2, float(layers.diffusivity[0])).with_wall(speed)
            line = partial(_signal, partial(_concentric, ends, 1), self.length / 2)
            return torch.from_numpy(disc(across, pulses, tolerance) * line(along, pulses, tolerance))
        if speed > 0:
            raise InputError("LayeredCylinder: surface_relaxivity, expected none where diffusivities differ")
        oblique = np.minimum(across, along) > _ALIGNED * np.maximum(across, along)
        if oblique.any():
            raise InputError(
                f"LayeredCylinder: gradient of {row(int(oblique.argmax()))} is oblique, expected along or "
                "across the axis where diffusivities differ"
            )
        rod = partial(_signal, partial(_axial, layers, self.length), self.length / 2)
        inside = self.length * disc(across, pulses, tolerance)
        return torch.from_numpy(np.where(along > across, rod(along, pulses, tolerance), inside))

    def _relaxivity(self, tissue: Tissue) -> float:
        """Return the relaxivity of all walls, µm/ms."""
        given = {c: float(speed.detach()) for c, speed in tissue.surface_relaxivity.items()}
        if not given:
            return 0.0
        if sorted(given) != list(range(len(self.radii))) or len(set(given.values())) > 1:
            raise InputError(
                f"LayeredCylinder: surface_relaxivity {given}, expected one value for all "
                f"{len(self.radii)} layers, as the ends are walls of each"
            )
        return given[0]


ModesOf = Callable[[float, int], LayerModes | None]
"""Modes for a pulse of a phase qδ times the half size of the shape, in so many functions a layer."""


def _concentric(layers: Layers, dimension: int, phase: float, functions: int) -> LayerModes | None:
    functions += math.ceil(phase / 4)
    return layer_modes(layers, dimension=dimension, highest_order=highest_order(phase), functions=functions)


def _axial(layers: Layers, length: float, phase: float, functions: int) -> LayerModes | None:
    return axial_modes(layers, length, functions=functions, along=functions + math.ceil(phase / 4))


def _signal(modes_of: ModesOf, half_size: float, q: Array, pulses: Pulses, tolerance: float) -> Array:
    """Return the signal (N,), `q` (N,) being the wave number in the space of the modes."""

    def value(q: float, delta: float, Delta: float, lead: float) -> float:
        functions, last = _FEWEST, math.inf
        while (modes := modes_of(q * delta * half_size, functions)) is not None:
            signal = pulsed_signal(modes, q, delta, Delta, lead)
            if abs(signal - last) <= tolerance * float(modes.uniform @ modes.uniform):
                return signal
            functions, last = math.ceil(_GROWTH * functions), signal
        raise ConvergenceError(
            f"analytic signal: {MOST_MODES} modes do not reach {tolerance:g} for a size of {2 * half_size:g} "
            f"µm at q = {q:.3g} rad/(µm ms), small_delta = {delta:g} ms"
        )

    return of_each_case(value, q, pulses.delta, pulses.Delta, pulses.lead)


def pulsed_signal(modes: LayerModes, q: float, delta: float, Delta: float, lead: float) -> float:
    """Return S for `q` in rad/(µm ms), δ, Δ and the time before the first pulse, ms."""
    pulse = delta * (np.diag(modes.rates) + 1j * q * modes.position)
    after = expm(-pulse) @ (np.exp(-lead * modes.rates) * modes.uniform)
    return float(np.sum(np.exp(-modes.rates * (Delta - delta)) * np.abs(after) ** 2))


def _layers(name: str, radii: tuple[float, ...], tissue: Tissue) -> Layers:
    """Return the layers of `tissue` with a reflecting outermost wall."""
    count = len(radii)
    if tissue.n_compartments not in (None, count):
        raise InputError(
            f"{name}: tissue has values for {tissue.n_compartments} compartments, expected {count}, "
            "one for each layer"
        )
    if tissue.diffusivity.ndim > 1:
        raise InputError(f"{name}: diffusivity is a matrix, expected one number for each layer (µm²/ms)")
    kappa = np.zeros(count - 1)
    for (i, j), value in tissue.permeability.items():
        if j != i + 1 or j >= count:
            raise InputError(
                f"{name}: permeability of {i} and {j}, expected of neighbours among 0 … {count - 1}"
            )
        if value.ndim > 0:
            raise InputError(
                f"{name}: permeability of {i} and {j} for each face, expected one number (µm/ms)"
            )
        kappa[i] = float(value.detach())
    D, rate, rho = (
        value.detach().cpu().double().expand(count).numpy()
        for value in (tissue.diffusivity, 1 / tissue.T2, tissue.spin_density)
    )
    exchange = kappa * 2 * rho[:-1] * rho[1:] / (rho[:-1] + rho[1:])
    return Layers(np.array(radii, dtype=float), D, rho, rate, exchange, 0.0)


def _check_radii(name: str, radii: tuple[float, ...]) -> None:
    ends = [0.0, *radii]
    if len(radii) == 0 or not all(a < b < math.inf for a, b in itertools.pairwise(ends)):
        raise InputError(f"{name}: radii are {tuple(radii)}, expected positive, increasing numbers of µm")

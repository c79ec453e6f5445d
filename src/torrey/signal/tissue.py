"""`Tissue`: what diffuses, relaxes and passes inside a mesh, as an immutable value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..acquisition.checks import float64
from ..errors import InputError

_LEAST_D, _MOST_D = 1e-3, 20.0
_LEAST_T2, _MOST_T2 = 0.5, 2e4
_LEAST_SPEED, _MOST_SPEED = 1e-4, 1e4
"""µm/ms; walls of 1e-4 hold spins for seconds, and values in m/s lie below."""

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Tissue:
    """Diffusivity, relaxation and spin density of the compartments of a mesh, and what passes their walls.

    A value may be one number for all compartments or one for each; then its number is that of compartments.

    Parameters
    ----------
    diffusivity : float, (C,), (3, 3) or (C, 3, 3) Tensor
        µm²/ms (= 1e-3 mm²/s); symmetric positive definite matrices where it depends on direction.
    T2 : float or (C,) Tensor
        ms; infinite by default.
    spin_density : float or (C,) Tensor
        Dimensionless. Where densities differ across a permeable interface, its flux vanishes at equilibrium
        (equal M/ρ).
    permeability : mapping of (i, j) to float or (F,) Tensor
        κ of the interface of two compartments, µm/ms; one value for each of its faces, in the order of
        `split_compartments(mesh).between(i, j)`, or one for all. Interfaces not named are impermeable.
    surface_relaxivity : mapping of i to float
        Relaxation at the outer boundary of a compartment, µm/ms.

    Raises
    ------
    InputError
        When a value is not positive, a matrix not symmetric positive definite, numbers of compartments
        differ, or the unit is a likely slip.
    """

    diffusivity: Tensor
    T2: Tensor
    spin_density: Tensor
    permeability: Mapping[Pair, Tensor]
    surface_relaxivity: Mapping[int, Tensor]

    def __init__(
        self,
        *,
        diffusivity: object = 2.0,
        T2: object = math.inf,
        spin_density: object = 1.0,
        permeability: Mapping[Pair, object] | None = None,
        surface_relaxivity: Mapping[int, object] | None = None,
    ) -> None:
        speeds = {_pair(key): float64(v, f"permeability {key}") for key, v in (permeability or {}).items()}
        if len(speeds) < len(permeability or {}):
            raise InputError(f"permeability: a pair is given twice in {list(permeability or {})}")
        uptake = {
            _compartment(key, "surface_relaxivity"): float64(v, f"surface_relaxivity {key}")
            for key, v in (surface_relaxivity or {}).items()
        }
        object.__setattr__(self, "diffusivity", float64(diffusivity, "diffusivity"))
        object.__setattr__(self, "T2", float64(T2, "T2"))
        object.__setattr__(self, "spin_density", float64(spin_density, "spin_density"))
        object.__setattr__(self, "permeability", speeds)
        object.__setattr__(self, "surface_relaxivity", uptake)
        _check_diffusivity(self.diffusivity.detach())
        for value in _numbers(self.T2, "T2", "ms"):
            _check_T2(value)
        for value in _numbers(self.spin_density, "spin_density", "relative to water"):
            _check_spin_density(value)
        for pair, kappa in speeds.items():
            _check_speed(kappa.detach(), f"permeability of {pair[0]} and {pair[1]}", most_dimensions=1)
        for compartment, speed in uptake.items():
            _check_speed(speed.detach(), f"surface_relaxivity of {compartment}", most_dimensions=0)
        _ = self.n_compartments

    @property
    def n_compartments(self) -> int | None:
        """Compartments that values are given for; None where each value is one for all."""
        counts = {
            name: value.shape[0]
            for name, value, single in (
                ("diffusivity", self.diffusivity, (0, 2)),
                ("T2", self.T2, (0,)),
                ("spin_density", self.spin_density, (0,)),
            )
            if value.ndim not in single
        }
        if len(set(counts.values())) > 1:
            given = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError(f"tissue: expected values for the same number of compartments, got {given}")
        return next(iter(counts.values()), None)

    @property
    def rests(self) -> bool:
        """Whether uniform M/ρ stays uniform without a gradient: one T2, and no surface relaxivity."""
        return self.T2.ndim == 0 and not self.surface_relaxivity

    @property
    def diffusion_tensor(self) -> Tensor:
        """The diffusivity as a matrix (3, 3), or (C, 3, 3) where it differs, µm²/ms."""
        D = self.diffusivity
        if D.ndim >= 2:
            return D
        return D[..., None, None] * torch.eye(3, dtype=D.dtype, device=D.device)


def _pair(key: object) -> Pair:
    if not (isinstance(key, tuple) and len(key) == 2):
        raise InputError(f"permeability: expected pairs of compartments such as (0, 1), got {key!r}")
    i, j = (_compartment(k, "permeability") for k in key)
    if i == j:
        raise InputError(f"permeability: expected two different compartments, got {key}")
    return min(i, j), max(i, j)


def _compartment(key: object, name: str) -> int:
    if not isinstance(key, int) or isinstance(key, bool) or key < 0:
        raise InputError(f"{name}: expected compartment numbers 0, 1, …, got {key!r}")
    return key


def _check_diffusivity(D: Tensor) -> None:
    if D.ndim > 3 or (D.ndim >= 2 and D.shape[-2:] != (3, 3)) or D.numel() == 0:
        raise InputError(
            "diffusivity: expected one number or a 3×3 matrix (µm²/ms), or one for each compartment, "
            f"got shape {tuple(D.shape)}"
        )
    if not torch.isfinite(D).all():
        raise InputError(f"diffusivity: expected finite numbers (µm²/ms), got {D.tolist()}")
    # Rounding of a product such as R D Rᵀ is far below this; a slip in typing is far above.
    if D.ndim >= 2 and (D - D.mT).abs().max() > 1e-6 * D.abs().max():
        raise InputError(f"diffusivity: expected a symmetric 3×3 matrix, got {D.tolist()}")
    values = torch.linalg.eigvalsh(D) if D.ndim >= 2 else D.reshape(-1, 1)
    if values.min() <= 0:
        shape = "a positive definite matrix" if D.ndim >= 2 else "positive"
        raise InputError(f"diffusivity: expected {shape} (µm²/ms), got {D.tolist()}")
    for largest in values.reshape(-1, values.shape[-1]).amax(1).tolist():
        if not (_LEAST_D <= largest <= _MOST_D):
            raise InputError(
                f"diffusivity: {largest:g} is outside {_LEAST_D:g} … {_MOST_D:g}; "
                "expected µm²/ms (= 1e-3 mm²/s)"
            )


def _check_T2(T2: float) -> None:
    if not T2 > 0:
        raise InputError(f"T2: expected positive (ms), got {T2:g}")
    if math.isfinite(T2) and not _LEAST_T2 <= T2 <= _MOST_T2:
        raise InputError(f"T2: {T2:g} is outside {_LEAST_T2:g} … {_MOST_T2:g}; expected ms")


def _check_spin_density(density: float) -> None:
    if not (density > 0 and math.isfinite(density)):
        raise InputError(f"spin_density: expected positive and finite, got {density:g}")


def _check_speed(speed: Tensor, name: str, *, most_dimensions: int) -> None:
    if speed.ndim > most_dimensions or speed.numel() == 0:
        per_face = " or one for each face" if most_dimensions else ""
        raise InputError(f"{name}: expected one number{per_face} (µm/ms), got shape {tuple(speed.shape)}")
    for value in (float(speed.min()), float(speed.max())):
        if not value >= 0:
            raise InputError(f"{name}: expected zero or positive (µm/ms), got {value:g}")
        if value != 0 and not _LEAST_SPEED <= value <= _MOST_SPEED:
            raise InputError(
                f"{name}: {value:g} is outside {_LEAST_SPEED:g} … {_MOST_SPEED:g}; "
                "expected µm/ms (= 1e-3 m/s)"
            )


def _numbers(value: Tensor, name: str, unit: str) -> list[float]:
    if value.ndim > 1 or value.numel() == 0:
        raise InputError(
            f"{name}: expected one number ({unit}) or one for each compartment, "
            f"got shape {tuple(value.shape)}"
        )
    numbers: list[float] = value.detach().reshape(-1).tolist()
    return numbers

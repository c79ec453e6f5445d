"""`Tissue`: what diffuses and relaxes inside a mesh, as an immutable value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..acquisition.checks import float64
from ..errors import InputError

_LEAST_D, _MOST_D = 1e-3, 20.0
_LEAST_T2, _MOST_T2 = 0.5, 2e4


@dataclass(frozen=True, eq=False)
class Tissue:
    """Diffusivity, relaxation and spin density of one impermeable compartment.

    Parameters
    ----------
    diffusivity : float, 0-d Tensor or (3, 3) Tensor
        µm²/ms (= 1e-3 mm²/s); a symmetric positive definite matrix where it depends on direction.
    T2 : float or 0-d Tensor
        ms; infinite by default.
    spin_density : float or 0-d Tensor
        Dimensionless.

    Raises
    ------
    InputError
        When a value is not positive, a matrix not symmetric positive definite, or the unit is a likely slip.
    """

    diffusivity: Tensor
    T2: Tensor
    spin_density: Tensor

    def __init__(
        self, *, diffusivity: object = 2.0, T2: object = math.inf, spin_density: object = 1.0
    ) -> None:
        object.__setattr__(self, "diffusivity", float64(diffusivity, "diffusivity"))
        object.__setattr__(self, "T2", float64(T2, "T2"))
        object.__setattr__(self, "spin_density", float64(spin_density, "spin_density"))
        _check_diffusivity(self.diffusivity.detach())
        _check_T2(_one_number(self.T2, "T2", "ms"))
        _check_spin_density(_one_number(self.spin_density, "spin_density", "relative to water"))

    @property
    def diffusion_tensor(self) -> Tensor:
        """The diffusivity as a (3, 3) matrix, µm²/ms."""
        if self.diffusivity.ndim == 2:
            return self.diffusivity
        return self.diffusivity * torch.eye(3, dtype=self.diffusivity.dtype, device=self.diffusivity.device)


def _check_diffusivity(D: Tensor) -> None:
    if D.shape not in ((), (3, 3)):
        raise InputError(
            f"diffusivity: expected one number or a 3×3 matrix (µm²/ms), got shape {tuple(D.shape)}"
        )
    if not torch.isfinite(D).all():
        raise InputError(f"diffusivity: expected finite numbers (µm²/ms), got {D.tolist()}")
    # Rounding of a product such as R D Rᵀ is far below this; a slip in typing is far above.
    if D.ndim == 2 and (D - D.T).abs().max() > 1e-6 * D.abs().max():
        raise InputError(f"diffusivity: expected a symmetric 3×3 matrix, got {D.tolist()}")
    values = torch.linalg.eigvalsh(D) if D.ndim == 2 else D[None]
    if values.min() <= 0:
        shape = "a positive definite matrix" if D.ndim == 2 else "positive"
        raise InputError(f"diffusivity: expected {shape} (µm²/ms), got {D.tolist()}")
    if not (_LEAST_D <= values.max() <= _MOST_D):
        raise InputError(
            f"diffusivity: {float(values.max()):g} is outside {_LEAST_D:g} … {_MOST_D:g}; "
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


def _one_number(value: Tensor, name: str, unit: str) -> float:
    if value.ndim != 0:
        raise InputError(f"{name}: expected one number ({unit}), got shape {tuple(value.shape)}")
    return float(value.detach())

"""`Tissue`: what diffuses and relaxes inside a mesh, as an immutable value."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError


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
        object.__setattr__(self, "diffusivity", _float64(diffusivity))
        object.__setattr__(self, "T2", _float64(T2))
        object.__setattr__(self, "spin_density", _float64(spin_density))
        self._check()

    def _check(self) -> None:
        D = self.diffusivity.detach()
        if D.shape not in ((), (3, 3)):
            raise InputError(f"diffusivity: expected one number or a 3×3 matrix (µm²/ms), got shape {tuple(D.shape)}")
        if not torch.isfinite(D).all():
            raise InputError(f"diffusivity: expected finite numbers (µm²/ms), got {D.tolist()}")
        if D.ndim == 2 and not torch.allclose(D, D.T):
            raise InputError(f"diffusivity: expected a symmetric 3×3 matrix, got {D.tolist()}")
        smallest = float(torch.linalg.eigvalsh(D).min()) if D.ndim == 2 else float(D)
        if smallest <= 0:
            raise InputError(f"diffusivity: expected positive (µm²/ms), got {D.tolist()}")
        largest = float(torch.linalg.eigvalsh(D).max()) if D.ndim == 2 else float(D)
        if not 1e-3 <= largest <= 20:
            raise InputError(f"diffusivity: {largest:g} is outside 0.001 … 20 µm²/ms; is it in another unit?")
        T2 = float(self.T2)
        if not T2 > 0:
            raise InputError(f"T2: expected positive (ms), got {T2:g}")
        if math.isfinite(T2) and not 0.5 <= T2 <= 2e4:
            raise InputError(f"T2: {T2:g} is outside 0.5 … 20000 ms; is it in another unit?")
        rho = float(self.spin_density)
        if not (rho > 0 and math.isfinite(rho)):
            raise InputError(f"spin_density: expected positive and finite, got {rho:g}")

    @property
    def diffusion_tensor(self) -> Tensor:
        """The diffusivity as a (3, 3) matrix, µm²/ms."""
        if self.diffusivity.ndim == 2:
            return self.diffusivity
        return self.diffusivity * torch.eye(3, dtype=self.diffusivity.dtype, device=self.diffusivity.device)


def _float64(value: object) -> Tensor:
    try:
        return torch.as_tensor(value).double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"tissue: expected numbers, got {value!r}") from error

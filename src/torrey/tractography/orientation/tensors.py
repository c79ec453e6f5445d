"""`Tensors`: diffusion tensors of many voxels, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import InputError
from ..anisotropy import fractional_anisotropy


@dataclass(frozen=True, eq=False)
class Tensors:
    """Symmetric diffusion tensors.

    Parameters
    ----------
    diffusivity : (..., 3, 3) Tensor
        World axes, µm²/ms.
    s0 : (...) Tensor
        Signal at b = 0.
    """

    diffusivity: Tensor
    s0: Tensor

    def __post_init__(self) -> None:
        if self.diffusivity.shape != (*self.s0.shape, 3, 3):
            shapes = f"{tuple(self.diffusivity.shape)} and {tuple(self.s0.shape)}"
            raise InputError(f"diffusivity and s0 have shapes {shapes}; expected (..., 3, 3) and (...)")

    @property
    def mean_diffusivity(self) -> Tensor:
        """(...) a third of the trace, µm²/ms."""
        return self.diffusivity.diagonal(dim1=-2, dim2=-1).mean(-1)

    @property
    def fractional_anisotropy(self) -> Tensor:
        """(...) √(3/2) ‖D − MD‖ / ‖D‖, with derivative zero where D is isotropic or zero."""
        # entries that mirror each other share the derivative
        symmetric = 0.5 * (self.diffusivity + self.diffusivity.mT)
        return fractional_anisotropy(symmetric[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]])

    @property
    def principal_direction(self) -> Tensor:
        """(..., 3) unit eigenvector of the largest eigenvalue, its largest component positive.

        Where the two largest eigenvalues are equal it has no derivative: the backward pass gives infinite or
        very large numbers there, never plausible ones.
        """
        direction: Tensor = _PrincipalDirection.apply(self.diffusivity)
        return direction


class _PrincipalDirection(torch.autograd.Function):
    """First-order perturbation theory: de₁ = Σ_{k=2,3} e_k (e_kᵀ dD e₁) / (λ₁ − λ_k).

    Unlike the derivative of `eigh`, it does not divide by λ₂ − λ₃.
    """

    @staticmethod
    def forward(ctx: Any, diffusivity: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(diffusivity)
        vector = vectors[..., 2]
        largest = vector.gather(-1, vector.abs().argmax(-1, keepdim=True))
        first: Tensor = vector * largest.sign()
        ctx.save_for_backward(values, vectors, first)
        return first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        values, vectors, first = ctx.saved_tensors
        gaps = values[..., 2:] - values[..., :2]
        others = vectors[..., :2]
        along = (grad[..., None, :] @ others)[..., 0, :] / gaps
        outer = (others @ along[..., None]) @ first[..., None, :]
        symmetric: Tensor = 0.5 * (outer + outer.mT)
        return symmetric

"""From element geometry to the pair values of mass, stiffness and first moments, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import ElementGeometry
from .space import FunctionSpace


class PairValues(NamedTuple):
    """One value for each node pair of a `FunctionSpace`; leading dimensions are batches.

    Attributes
    ----------
    mass : (..., Z) Tensor
        M = ∫φᵢφⱼ, µm³.
    stiffness : (..., Z) Tensor
        S = ∫∇φᵢ·D∇φⱼ, µm³/ms.
    moments : (..., 3, Z) Tensor
        J_u = ∫x_u φᵢφⱼ, µm⁴.
    """

    mass: Tensor
    stiffness: Tensor
    moments: Tensor


def assemble(space: FunctionSpace, geometry: ElementGeometry) -> PairValues:
    """Sum the element matrices of `geometry` (or of a batch of its tangents) into pair values."""
    volume, diffusion, position = geometry
    tables = space.element
    mass, stiffness, moment = (t.to(volume) for t in (tables.mass, tables.stiffness, tables.moment))
    local_moments = torch.einsum("...tcu,rc->...utr", position, moment)
    return PairValues(
        _scatter(space, volume[..., None] * mass),
        _scatter(space, diffusion.flatten(-2) @ stiffness.T),
        _scatter(space, local_moments),
    )


def assemble_adjoint(space: FunctionSpace, cotangent: PairValues) -> ElementGeometry:
    """Return the cotangent of the element geometry for the `cotangent` of the pair values (not batched)."""
    tables = space.element
    gathered = cotangent.mass[space.pair_of]
    volume = gathered @ tables.mass.to(gathered)
    diffusion = (cotangent.stiffness[space.pair_of] @ tables.stiffness.to(gathered)).unflatten(-1, (4, 4))
    position = torch.stack([m[space.pair_of] @ tables.moment.to(gathered) for m in cotangent.moments], dim=-1)
    return ElementGeometry(volume, diffusion, position)


def _scatter(space: FunctionSpace, local: Tensor) -> Tensor:
    """Sum local pair values (..., T, R) into (..., Z)."""
    flat = local.flatten(-2)
    total = flat.new_zeros(*flat.shape[:-1], len(space.pairs))
    return total.index_add_(-1, space.pair_of.ravel(), flat)

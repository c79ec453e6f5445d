"""From element geometry to the pair values of mass, stiffness and first moments, and back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .geometry import ElementGeometry
from .space import FunctionSpace, interface_table, wall_table


class PairValues(NamedTuple):
    """One value for each node pair of a `FunctionSpace`; leading dimensions are batches.

    Attributes
    ----------
    mass : (..., Z) Tensor
        M = ∫ρφᵢφⱼ, µm³.
    stiffness : (..., Z) Tensor
        S = ∫ρ∇φᵢ·D∇φⱼ + ∫ρφᵢφⱼ/T + ∮exchange [φᵢ][φⱼ] + ∮uptake φᵢφⱼ, µm³/ms: all that does not depend on
        the gradient.
    moments : (..., 3, Z) Tensor
        J_u = ∫ρx_u φᵢφⱼ, µm⁴.
    """

    mass: Tensor
    stiffness: Tensor
    moments: Tensor


def assemble(space: FunctionSpace, geometry: ElementGeometry) -> PairValues:
    """Sum the element matrices of `geometry` (or of a batch of its tangents) into pair values."""
    volume = geometry.volume
    tables = _Tables.of(space, volume)
    local_moments = torch.einsum("...tcu,rc->...utr", geometry.position, tables.moment)
    local_stiffness = geometry.diffusion.flatten(-2) @ tables.stiffness.T
    local_stiffness = local_stiffness + geometry.relaxation[..., None] * tables.mass
    stiffness = _scatter(space, local_stiffness, space.pair_of)
    for values, table, pair_of in (
        (geometry.exchange, tables.interface, space.interface_pair_of),
        (geometry.uptake, tables.wall, space.wall_pair_of),
    ):
        if len(pair_of):
            stiffness = stiffness + _scatter(space, values[..., None] * table, pair_of)
    return PairValues(
        _scatter(space, volume[..., None] * tables.mass, space.pair_of),
        stiffness,
        _scatter(space, local_moments, space.pair_of),
    )


def assemble_adjoint(space: FunctionSpace, cotangent: PairValues) -> ElementGeometry:
    """Return the cotangent of the element geometry for the `cotangent` of the pair values (not batched)."""
    stiffness = cotangent.stiffness[space.pair_of]
    tables = _Tables.of(space, stiffness)
    position = torch.stack([m[space.pair_of] @ tables.moment for m in cotangent.moments], dim=-1)
    return ElementGeometry(
        cotangent.mass[space.pair_of] @ tables.mass,
        (stiffness @ tables.stiffness).unflatten(-1, (4, 4)),
        position,
        stiffness @ tables.mass,
        cotangent.stiffness[space.interface_pair_of] @ tables.interface,
        cotangent.stiffness[space.wall_pair_of] @ tables.wall,
    )


class _Tables(NamedTuple):
    mass: Tensor
    stiffness: Tensor
    moment: Tensor
    interface: Tensor
    wall: Tensor

    @classmethod
    def of(cls, space: FunctionSpace, like: Tensor) -> _Tables:
        element, order = space.element, space.element.order
        facets = interface_table(order).values, wall_table(order).values
        return cls(*(t.to(like) for t in (element.mass, element.stiffness, element.moment, *facets)))


def _scatter(space: FunctionSpace, local: Tensor, pair_of: Tensor) -> Tensor:
    """Sum local pair values (..., E, R) into (..., Z)."""
    flat = local.flatten(-2)
    total = flat.new_zeros(*flat.shape[:-1], len(space.pairs))
    return total.index_add_(-1, pair_of.ravel(), flat)

"""The few numbers of a tet and of a facet that its matrices are linear in, differentiable in the vertices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .space import FunctionSpace


class Coefficients(NamedTuple):
    """What diffuses, relaxes and passes where. One value for all tets or facets, or one each.

    Attributes
    ----------
    diffusion : (3, 3) or (T, 3, 3) Tensor
        D, µm²/ms.
    density : () or (T,) Tensor
        ρ, spin density.
    relaxation : () or (T,) Tensor
        Decay beyond the uniform one, 1/ms.
    exchange : () or (F,) Tensor
        Flux through interfaces over the jump of m, with magnetisation ρm, µm/ms.
    uptake : () or (B,) Tensor
        Flux into walls over m, µm/ms.
    """

    diffusion: Tensor
    density: Tensor
    relaxation: Tensor
    exchange: Tensor
    uptake: Tensor

    @classmethod
    def uniform(cls, diffusion: Tensor) -> Coefficients:
        """Return those of one compartment with reflecting walls and D = `diffusion` (3, 3)."""
        zero = diffusion.new_zeros(())
        return cls(diffusion, zero + 1, zero, zero, zero)


class ElementGeometry(NamedTuple):
    """Numbers of each tet, interface and wall.

    Attributes
    ----------
    volume : (T,) Tensor
        ρv, µm³.
    diffusion : (T, 4, 4) Tensor
        ρv ∇λ_a · D ∇λ_b, µm³/ms.
    position : (T, 4, 3) Tensor
        ρv x_a with x_a the corners, µm⁴.
    relaxation : (T,) Tensor
        ρv over the relaxation time, µm³/ms.
    exchange : (F,) Tensor
        Coefficient times area, µm³/ms.
    uptake : (B,) Tensor
        The same of walls.
    """

    volume: Tensor
    diffusion: Tensor
    position: Tensor
    relaxation: Tensor
    exchange: Tensor
    uptake: Tensor


def element_geometry(vertices: Tensor, space: FunctionSpace, coefficients: Coefficients) -> ElementGeometry:
    """Return the element geometry of `space` over `vertices` (V, 3), µm."""
    corners = vertices[space.tets]
    a, b, c = (corners[:, i] - corners[:, 0] for i in (1, 2, 3))
    # rows of the cofactor matrix: 6 v ∇λ₁, 6 v ∇λ₂, 6 v ∇λ₃
    normals = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1
    )
    six_volumes = (a * normals[:, 0]).sum(1)
    normals = torch.cat([-normals.sum(1, keepdim=True), normals], dim=1)
    per_volume = coefficients.density / (6 * six_volumes)
    diffusion = normals @ coefficients.diffusion @ normals.transpose(1, 2) * per_volume[:, None, None]
    volume = coefficients.density * six_volumes / 6
    sides = _areas(vertices, space.interfaces.reshape(-1, 3)).view(-1, 2)
    return ElementGeometry(
        volume,
        diffusion,
        volume[:, None, None] * corners,
        coefficients.relaxation * volume,
        # the sides lie at the same points, and both are moved
        coefficients.exchange * sides.mean(1),
        coefficients.uptake * _areas(vertices, space.walls),
    )


def _areas(vertices: Tensor, triangles: Tensor) -> Tensor:
    a, b, c = vertices[triangles].unbind(1)
    areas: Tensor = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    return areas

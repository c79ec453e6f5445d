"""Rotation-minimising frames along a curve."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_minimising_normals(points: Tensor, tangents: Tensor) -> Tensor:
    """Return unit normals (L, 3) that turn about the curve as little as possible.

    Parameters
    ----------
    points, tangents : (L, 3) Tensor
        Positions, µm, and unit tangents.

    Notes
    -----
    The double reflection method of Wang, Jüttler, Zheng and Liu, ACM Trans. Graph. 27, 2 (2008); fourth order
    in the distance of points.
    """
    chords = points[1:] - points[:-1]
    first = _reflection(chords)
    # a zero mirror cannot arise: both tangents point along the chord for any layer spacing that is used
    second = _reflection(tangents[1:] - _apply(first, tangents[:-1]))
    normal = any_normal(tangents[0])
    return torch.cat([normal[None], _apply(_running_product(second @ first), normal)])


def _reflection(mirror: Tensor) -> Tensor:
    """Return the matrices (L, 3, 3) that reflect along each of `mirror` (L, 3)."""
    unit = mirror / mirror.norm(dim=1, keepdim=True)
    outer = unit[:, :, None] * unit[:, None]
    reflection: Tensor = torch.eye(3, dtype=mirror.dtype, device=mirror.device) - 2 * outer
    return reflection


def _apply(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None]).squeeze(-1)


def _running_product(matrices: Tensor) -> Tensor:
    """Return Rᵢ ⋯ R₁R₀ for each i of `matrices` (L, 3, 3), in log₂ L products of all at once."""
    reach = 1
    while reach < len(matrices):
        matrices = torch.cat([matrices[:reach], matrices[reach:] @ matrices[:-reach]])
        reach *= 2
    return matrices


def any_normal(tangent: Tensor) -> Tensor:
    """Return a unit normal (3,) of the unit `tangent` (3,), from the coordinate axis least along it."""
    axis = torch.nn.functional.one_hot(tangent.detach().abs().argmin(), 3).to(tangent)
    normal = axis - (axis @ tangent) * tangent
    unit: Tensor = normal / normal.norm()
    return unit

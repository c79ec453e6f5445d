"""The few numbers of a tet that its element matrices are linear in, differentiable in the vertices."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ElementGeometry(NamedTuple):
    """Numbers of each tet.

    Attributes
    ----------
    volume : (T,) Tensor
        v, µm³.
    diffusion : (T, 4, 4) Tensor
        v ∇λ_a · D ∇λ_b, µm³/ms.
    position : (T, 4, 3) Tensor
        v x_a with x_a the corners, µm⁴.
    """

    volume: Tensor
    diffusion: Tensor
    position: Tensor


def element_geometry(vertices: Tensor, tets: Tensor, diffusion_tensor: Tensor) -> ElementGeometry:
    """Return the element geometry of `tets` (T, 4) over `vertices` (V, 3), µm, with D (3, 3), µm²/ms."""
    corners = vertices[tets]
    a, b, c = (corners[:, i] - corners[:, 0] for i in (1, 2, 3))
    # rows of the cofactor matrix: 6 v ∇λ₁, 6 v ∇λ₂, 6 v ∇λ₃
    normals = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=1
    )
    six_volumes = (a * normals[:, 0]).sum(1)
    normals = torch.cat([-normals.sum(1, keepdim=True), normals], dim=1)
    diffusion = normals @ diffusion_tensor @ normals.transpose(1, 2) / (6 * six_volumes)[:, None, None]
    volume = six_volumes / 6
    return ElementGeometry(volume, diffusion, volume[:, None, None] * corners)

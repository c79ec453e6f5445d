"""Signed volumes of tetrahedra."""

from __future__ import annotations

import torch
from torch import Tensor


def tet_volumes(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return the signed volumes (T,) of `tets` (T, 4) over `vertices` (..., V, 3), µm³."""
    corners = vertices[..., tets, :]
    a, b, c = (corners[..., i, :] - corners[..., 0, :] for i in (1, 2, 3))
    volumes: Tensor = (a * torch.linalg.cross(b, c)).sum(-1) / 6
    return volumes

"""Signed volumes of tetrahedra, and which of them are flat."""

from __future__ import annotations

import torch
from torch import Tensor

DEGENERATE = 1e-9
"""A tet whose volume is below this fraction of its longest edge cubed is flat to round-off."""


def tet_volumes(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return the signed volumes (T,) of `tets` (T, 4) over `vertices` (..., V, 3), µm³."""
    corners = vertices[..., tets, :]
    a, b, c = (corners[..., i, :] - corners[..., 0, :] for i in (1, 2, 3))
    volumes: Tensor = (a * torch.linalg.cross(b, c)).sum(-1) / 6
    return volumes


def least_volumes(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return the volumes (T,), µm³, at which `tets` (T, 4) over `vertices` (V, 3) count as degenerate."""
    corners = vertices[tets]
    longest = torch.stack(
        [(corners[:, i] - corners[:, j]).norm(dim=1) for i in range(4) for j in range(i)]
    ).amax(0)
    return DEGENERATE * longest**3

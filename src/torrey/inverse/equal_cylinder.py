"""The straight cylinder that a reconstruction has to beat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..mesh import TetMesh, cylinder


def cylinder_of_equal_volume(mesh: TetMesh, *, n_rings: int = 6, n_layers: int = 24) -> TetMesh:
    """Return a straight cylinder along the principal axis of `mesh`, of its volume and extent along it.

    The axis is that of the largest second moment of volume, and passes through the centroid. It is the
    long axis of a shape longer than about 1.7 times its radius; `n_rings` and `n_layers` are those of
    `torrey.mesh.cylinder`.
    """
    vertices = mesh.vertices.detach().double()
    volumes = mesh.volumes.detach().double()
    centroid, moment = _moments(vertices[mesh.tets], volumes)
    frame = torch.linalg.eigh(moment).eigenvectors  # columns, largest last
    axis = frame[:, 2]
    along = (vertices[torch.unique(mesh.boundary)] - centroid) @ axis
    low, high = float(along.min()), float(along.max())
    radius = math.sqrt(float(volumes.sum()) / (math.pi * (high - low)))
    # a proper rotation, so that no tet is turned inside out
    rotation = torch.stack([torch.linalg.cross(frame[:, 1], axis), frame[:, 1], axis], dim=1)
    straight = cylinder(radius, high - low, n_rings=n_rings, n_layers=n_layers)
    centre = centroid + (low + high) / 2 * axis
    return straight.with_vertices(straight.vertices.to(centre) @ rotation.T + centre)


def _moments(corners: Tensor, volumes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centroid (3,) of tets `corners` (T, 4, 3) and their second moment (3, 3) about it.

    ∫(x − x̄)(x − x̄)ᵀ over one tet is V/20 (Σᵢ xᵢxᵢᵀ + (Σᵢ xᵢ)(Σᵢ xᵢ)ᵀ) with corners xᵢ relative to x̄.
    """
    centroid = (volumes[:, None] * corners.mean(1)).sum(0) / volumes.sum()
    relative = corners - centroid
    total = relative.sum(1)
    squares = torch.einsum("tki,tkj->tij", relative, relative) + total[:, :, None] * total[:, None]
    return centroid, torch.einsum("t,tij->ij", volumes, squares) / 20

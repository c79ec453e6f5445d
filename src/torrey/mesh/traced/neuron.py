"""Tetrahedra in a traced neuron, made without an external mesher.

The neuron is the union of round cones. Tets of a cube are bisected until they are small beside the cones
that they meet (`cone_grid.py`), their corners near the surface are drawn onto it, and the tets that still
cross it are cut (`stuffing.py`). The boundary is that of a set of points, so it is closed whatever the tree.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ...errors import InputError
from ..surface import boundary_faces
from ..tetmesh import TetMesh
from ..validate import require_valid
from .cone_grid import ConeGrid, cone_grid
from .round_cones import cones_of
from .stuffing import WORST, quality, stuff
from .swc import Morphology

_COARSEST = 1.0
"""Edges over the radius of a branch beyond which it could fall between the vertices."""

_BULGES = 3
"""Each leaves about a tenth of the volume that is missing."""


def neuron_mesh(
    morphology: Morphology, *, edge_length: float | None = None, edge_over_radius: float = 0.8
) -> TetMesh:
    """Return a tetrahedral mesh, one compartment, of the round cones and cell body that `morphology` traces.

    Branches that touch are merged. Flat triangles of edges h lose a part of the order of (h/r)² of a branch
    of radius r, and the boundary is moved out by as much.

    Parameters
    ----------
    morphology : Morphology
        µm.
    edge_length : float, optional
        Most that edges are long, about, µm; those of thin branches are shorter.
    edge_over_radius : float
        Most that edges are long, about, over the radius of their branch; up to 1.

    Raises
    ------
    InputError
        When a length is not positive, `edge_over_radius` is above 1, or the mesh would not fit the memory.
    """
    if edge_length is not None and not (edge_length > 0 and math.isfinite(edge_length)):
        raise InputError(f"neuron_mesh: edge_length is {edge_length}, expected a positive number of µm")
    if not 0 < edge_over_radius <= _COARSEST:
        raise InputError(
            f"neuron_mesh: edge_over_radius is {edge_over_radius}, expected above 0 and at most {_COARSEST:g}"
        )
    cones = cones_of(morphology)
    grid = cone_grid(cones, edge_length=edge_length or math.inf, edge_over_radius=edge_over_radius)
    vertices, tets, parents = stuff(grid.mesh.vertices, grid.mesh.tets, grid.depth)
    vertices = _bulged(vertices, tets, parents, grid)
    used, compact = np.unique(tets, return_inverse=True)
    mesh = TetMesh(torch.as_tensor(vertices[used]), torch.as_tensor(compact.reshape(-1, 4)))
    require_valid(mesh, name="neuron_mesh")
    return mesh


def _bulged(vertices: np.ndarray, tets: np.ndarray, parents: np.ndarray, grid: ConeGrid) -> np.ndarray:
    """Move the boundary out until its flat triangles cut as much off the round neuron as they add to it.

    A triangle with corners on a smooth surface lies below it by a quadratic function, whose mean is that at
    the middles of the edges. Vertices are moved along their normal by the mean depth of their triangles.
    """
    triangles, of_tet = (found.numpy() for found in boundary_faces(torch.as_tensor(tets)))
    owner = np.repeat(parents[of_tet], 3)
    for _ in range(_BULGES):
        corners = vertices[triangles]
        middles = (corners + np.roll(corners, -1, axis=1)) / 2
        depth = grid.depth(middles.reshape(-1, 3), owner).reshape(-1, 3).mean(1)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normal, axis=1)
        moved = vertices - _mean_step(triangles, normal, area, area * depth, n=len(vertices))
        before, after = quality(vertices, tets), quality(moved, tets)
        while (worse := (after < WORST) & (after < before)).any():
            stay = np.unique(tets[worse])
            moved[stay] = vertices[stay]
            after = quality(moved, tets)
        vertices = moved
    return vertices


def _mean_step(
    triangles: np.ndarray, normal: np.ndarray, area: np.ndarray, cut: np.ndarray, *, n: int
) -> np.ndarray:
    """Return Σcut/Σarea along the summed normals, over the triangles at each of n vertices; 0 elsewhere."""
    columns = np.column_stack([normal, area, cut]).repeat(3, axis=0).T
    sums = [np.bincount(triangles.ravel(), weights=column, minlength=n) for column in columns]
    direction = np.stack(sums[:3], axis=1)
    scale = sums[3] * np.linalg.norm(direction, axis=1)
    step: np.ndarray = direction * np.divide(sums[4], scale, out=np.zeros(n), where=scale > 0)[:, None]
    return step

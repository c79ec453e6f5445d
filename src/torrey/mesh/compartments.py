"""Compartments that share no vertex, and the faces where they touch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import MeshError
from .faces import same_rows
from .orientation import face_pairs
from .overlap import require_apart
from .surface import boundary_faces, boundary_triangles
from .tetmesh import TetMesh
from .validate import parts_of

_SAME_POINT = 1e-6
"""Distance over the shortest edge under which vertices of two compartments are one point: far above the
rounding of a file, far below any tet."""


@dataclass(frozen=True, eq=False)
class SplitMesh:
    """A mesh in which every compartment has vertices of its own.

    Attributes
    ----------
    tets : (T, 4) Tensor
        Indices into the doubled vertices, those of one compartment after another.
    parent : (W,) Tensor
        The vertex of the mesh that each of them is, so that `mesh.vertices[parent]` are their positions.
    interfaces : (F, 2, 3) Tensor
        Triangles where two compartments touch, as each side names them, corner by corner at the same points.
    sides : (F, 2) Tensor
        Their two compartments, the lower first.
    walls : (B, 3) Tensor
        Triangles of the outer boundary.
    wall_compartments : (B,) Tensor
        Compartment of each.
    """

    tets: Tensor
    parent: Tensor
    interfaces: Tensor
    sides: Tensor
    walls: Tensor
    wall_compartments: Tensor

    def between(self, first: int, second: int) -> Tensor:
        """Return which interfaces (k,) lie between two compartments."""
        pair = torch.tensor(sorted((first, second)), device=self.sides.device)
        return (self.sides == pair).all(1).nonzero().ravel()

    def only(self, tets: Tensor, compartments: Tensor) -> SplitMesh:
        """Return some `compartments` (c,) by themselves, whose tets are those of the mask `tets` (T,).

        Their interfaces with others are left out: those are not walls of the whole.
        """
        used, own = torch.unique(self.tets[tets], return_inverse=True)
        number = torch.full_like(self.parent, -1)
        number[used] = torch.arange(len(used), device=used.device)
        inside = torch.isin(self.sides, compartments).all(1)
        walls = torch.isin(self.wall_compartments, compartments)
        return SplitMesh(
            own,
            self.parent[used],
            number[self.interfaces[inside]],
            self.sides[inside],
            number[self.walls[walls]],
            self.wall_compartments[walls],
        )


def split_compartments(mesh: TetMesh) -> SplitMesh:
    """Double the vertices that compartments share, and find the faces where compartments touch.

    Meshes whose compartments share vertices (as gmsh writes them) and meshes that carry one copy of an
    interface vertex for each compartment (as SpinDoctor writes them) give the same.

    Raises
    ------
    MeshError
        When two vertices of one compartment lie at one point (a crack through which nothing diffuses), more
        than two tets meet in a face, or compartments meet in faces that are not the same on both sides.
    """
    compartments = mesh.compartments
    if mesh.n_compartments == 1:
        return one_compartment(mesh.tets)
    corners = compartments[:, None] * mesh.n_vertices + mesh.tets
    owned, tets = torch.unique(corners, return_inverse=True)
    parent, owner = owned % mesh.n_vertices, owned // mesh.n_vertices
    triangles, of_tet = boundary_faces(tets)
    point = _points(mesh, tets, parent, owner, triangles)
    number, counts = same_rows(point[triangles])
    shared = counts[number]
    if bool((shared > 2).any()):
        names = parent[triangles[int((shared > 2).nonzero()[0])]].tolist()
        raise MeshError(f"mesh: more than two compartments meet in the face of vertices {names}")
    alone = shared == 1
    rank = torch.argsort(number, stable=True)
    first, second = rank[~alone[rank]].view(-1, 2).unbind(1)
    swap = owner[triangles[first, 0]] > owner[triangles[second, 0]]
    first, second = torch.where(swap, second, first), torch.where(swap, first, second)
    # both triangles list the same points; sorted by point their corners belong together
    ordered = torch.gather(triangles, 1, point[triangles].argsort(1))
    interfaces = torch.stack([ordered[first], ordered[second]], dim=1)
    walls = triangles[alone]
    require_apart(mesh.vertices.detach()[parent], tets, compartments, walls, of_tet[alone])
    return SplitMesh(tets, parent, interfaces, owner[interfaces[:, :, 0]], walls, owner[walls[:, 0]])


def one_compartment(tets: Tensor) -> SplitMesh:
    """Return the split of a mesh of one compartment, whose vertices are those in `tets` (T, 4)."""
    parent, own = torch.unique(tets, return_inverse=True)
    walls, none = boundary_triangles(own), tets.new_zeros(0)
    return SplitMesh(own, parent, none.view(0, 2, 3), none.view(0, 2), walls, torch.zeros_like(walls[:, 0]))


def _points(mesh: TetMesh, tets: Tensor, parent: Tensor, owner: Tensor, triangles: Tensor) -> Tensor:
    """Give vertices (W,) of different compartments at one point the same number."""
    surface = torch.unique(triangles).cpu().numpy()
    positions = mesh.vertices.detach().double()[parent].cpu().numpy()
    x = positions[tets.cpu().numpy()]
    shortest = min(np.linalg.norm(x[:, i] - x[:, j], axis=1).min() for i in range(4) for j in range(i))
    near = cKDTree(positions[surface]).query_pairs(_SAME_POINT * shortest, output_type="ndarray")
    a, b = surface[near[:, 0]], surface[near[:, 1]]
    crack = np.flatnonzero(owner.cpu().numpy()[a] == owner.cpu().numpy()[b])
    if len(crack):
        i, j = (int(parent[int(k[crack[0]])]) for k in (a, b))
        raise MeshError(
            f"mesh: vertices {i} and {j} of compartment {int(owner[int(a[crack[0]])])} lie at one point; "
            "expected a mesh without cracks inside a compartment"
        )
    n = len(parent)
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(n, n))
    labels = connected_components(graph, directed=False)[1]
    return torch.as_tensor(labels, dtype=torch.long, device=parent.device)


def label_parts(mesh: TetMesh) -> TetMesh:
    """Return `mesh` with a compartment for each face-connected part of its compartments.

    Many cells under one label become cells that `simulate` takes, each solved by itself. Parts of lower
    compartments come first, and those of one compartment in the order of their first tets.
    """
    first, second, _ = face_pairs(mesh.tets.cpu().numpy())
    compartments = mesh.compartments.cpu().numpy()
    parts = parts_of(compartments, first, second)
    _, start = np.unique(parts, return_index=True)
    place = np.argsort(np.lexsort((start, compartments[start])))
    labels = torch.as_tensor(place[parts], device=mesh.compartments.device)
    return replace(mesh, compartments=labels)

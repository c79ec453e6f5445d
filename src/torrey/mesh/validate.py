"""Find what makes a mesh unfit for simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..errors import MeshError
from .orientation import TET_FACES, face_pairs
from .surface import boundary_triangles
from .tetmesh import TetMesh

DEGENERATE = 1e-9
"""A tet whose volume is below this fraction of its longest edge cubed is flat to round-off in the coordinates."""


@dataclass(frozen=True, eq=False)
class MeshReport:
    """What is wrong with a mesh; every tensor is empty and `n_parts == n_compartments` in a valid one.

    Attributes
    ----------
    n_tets, n_vertices : int
        Size of the mesh.
    inverted : (k,) int64 Tensor
        Tets of negative volume: the mesh is folded over itself there.
    degenerate : (k,) int64 Tensor
        Tets whose volume is below `DEGENERATE` times their longest edge cubed, of either sign.
    nonmanifold_faces : (k, 3) int64 Tensor
        Faces shared by more than two tets.
    overlapping_faces : (k, 3) int64 Tensor
        Faces whose two tets, both of positive volume, lie on the same side.
    nonmanifold_edges : (k, 2) int64 Tensor
        Edges of the outer boundary with more than two boundary triangles.
    n_parts, n_compartments : int
        Number of face-connected parts, counted within each compartment, and of compartments that have a tet.
    unreferenced : (k,) int64 Tensor
        Vertices that belong to no tet.
    worst_volume : float
        Smallest signed volume, µm³.
    """

    n_tets: int
    n_vertices: int
    inverted: Tensor
    degenerate: Tensor
    nonmanifold_faces: Tensor
    overlapping_faces: Tensor
    nonmanifold_edges: Tensor
    n_parts: int
    n_compartments: int
    unreferenced: Tensor
    worst_volume: float

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each kind of problem, the worst first."""
        found = []
        if n := len(self.inverted):
            verb = "is" if n == 1 else "are"
            found.append(
                f"{n} of {self.n_tets} tets {verb} inverted (first: tet {int(self.inverted[0])}; "
                f"smallest volume {self.worst_volume:.3g} µm³), expected none"
            )
        if n := len(self.degenerate):
            verb = "is" if n == 1 else "are"
            found.append(
                f"{n} of {self.n_tets} tets {verb} degenerate (first: tet {int(self.degenerate[0])}), expected none"
            )
        for faces, what in (
            (self.nonmanifold_faces, "shared by more than two tets"),
            (self.overlapping_faces, "with both tets on the same side"),
        ):
            if n := len(faces):
                found.append(f"{n} face(s) {what} (first: vertices {_listed(faces[0])}), expected none")
        if n := len(self.nonmanifold_edges):
            first = _listed(self.nonmanifold_edges[0])
            found.append(
                f"{n} boundary edge(s) with more than two triangles (first: vertices {first}), expected none"
            )
        if self.n_parts > self.n_compartments:
            found.append(
                f"{self.n_parts} parts that share no face, expected {self.n_compartments} (one for each compartment)"
            )
        if n := len(self.unreferenced):
            found.append(
                f"{n} of {self.n_vertices} vertices in no tet (first: vertex {int(self.unreferenced[0])}), "
                "expected none"
            )
        return tuple(found)

    @property
    def ok(self) -> bool:
        """Whether the mesh is fit for simulation."""
        return not self.problems


def validate(mesh: TetMesh) -> MeshReport:
    """Return what is wrong with `mesh`; nothing is raised. The cost is that of sorting 4T faces."""
    volumes = mesh.volumes.detach()
    corners = mesh.vertices.detach()[mesh.tets]
    longest = torch.stack(
        [(corners[:, i] - corners[:, j]).norm(dim=1) for i in range(4) for j in range(i)]
    ).amax(0)
    flat = volumes.abs() <= DEGENERATE * longest**3
    tets = mesh.tets.cpu().numpy()
    compartments = mesh.compartments.cpu().numpy()
    used = torch.zeros(mesh.n_vertices, dtype=torch.bool)
    used[mesh.tets.reshape(-1).cpu()] = True
    first, second, agree = face_pairs(tets)
    positive = (volumes > 0).cpu().numpy()
    overlap = ~agree & positive[first] & positive[second]
    return MeshReport(
        n_tets=mesh.n_tets,
        n_vertices=mesh.n_vertices,
        inverted=((volumes < 0) & ~flat).nonzero()[:, 0].cpu(),
        degenerate=flat.nonzero()[:, 0].cpu(),
        nonmanifold_faces=_faces_of_many(tets),
        overlapping_faces=_common_faces(tets, first[overlap], second[overlap]),
        nonmanifold_edges=_nonmanifold_edges(boundary_triangles(mesh.tets.cpu())),
        n_parts=_count_parts(compartments, first, second),
        n_compartments=len(np.unique(compartments)),
        unreferenced=(~used).nonzero()[:, 0],
        worst_volume=float(volumes.min()),
    )


def require_valid(mesh: TetMesh, *, name: str = "mesh") -> None:
    """Raise a one-line `MeshError` that starts with `name` (of a file, say) where `mesh` is not fit to simulate on."""
    problems = validate(mesh).problems
    if problems:
        raise MeshError(f"{name}: {'; '.join(problems)}")


def _listed(indices: Tensor) -> str:
    return " ".join(str(int(i)) for i in indices)


def _faces_of_many(tets: np.ndarray) -> Tensor:
    faces = np.sort(tets[:, np.array(TET_FACES)].reshape(-1, 3), axis=1)
    faces = faces[np.lexsort(faces.T[::-1])]
    third = (faces[2:] == faces[:-2]).all(1)
    return torch.as_tensor(np.unique(faces[2:][third], axis=0))


def _common_faces(tets: np.ndarray, first: np.ndarray, second: np.ndarray) -> Tensor:
    shared = (tets[first][:, :, None] == tets[second][:, None, :]).any(2)
    return torch.as_tensor(np.sort(tets[first][shared].reshape(-1, 3), axis=1)) if len(first) else _no_rows(3)


def _nonmanifold_edges(triangles: Tensor) -> Tensor:
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(1).values
    edges, counts = torch.unique(edges, dim=0, return_counts=True)
    return edges[counts > 2]


def _count_parts(compartments: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    n = len(compartments)
    inside = compartments[first] == compartments[second]
    graph = coo_array((np.ones(inside.sum(), dtype=np.int8), (first[inside], second[inside])), shape=(n, n))
    return int(connected_components(graph, directed=False)[0])


def _no_rows(columns: int) -> Tensor:
    return torch.empty(0, columns, dtype=torch.long)

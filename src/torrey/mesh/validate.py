"""Find what makes a mesh unfit for simulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..errors import MeshError
from .faces import same_rows, tet_faces
from .orientation import face_pairs
from .volumes import least_volumes

if TYPE_CHECKING:
    from .tetmesh import TetMesh


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
        Tets whose volume is below 1e-9 (`volumes.DEGENERATE`) of their longest edge cubed, of either sign.
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
        of_all = f"of {self.n_tets} tets"
        if n := len(self.inverted):
            first = f"first: tet {int(self.inverted[0])}; smallest volume {self.worst_volume:.3g} µm³"
            found.append(f"{n} {of_all} inverted ({first}), expected none")
        if n := len(self.degenerate):
            found.append(f"{n} {of_all} degenerate (first: tet {int(self.degenerate[0])}), expected none")
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
                f"{self.n_parts} parts that share no face, expected {self.n_compartments}, one a compartment "
                "(`label_parts` makes each one of its own)"
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
    flat = volumes.abs() <= least_volumes(mesh.vertices.detach(), mesh.tets)
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
        nonmanifold_faces=_shared_by_more_than_two(tet_faces(mesh.tets.cpu())),
        overlapping_faces=_common_faces(tets, first[overlap], second[overlap]),
        nonmanifold_edges=_shared_by_more_than_two(_triangle_edges(mesh.boundary.cpu())),
        n_parts=int(parts_of(compartments, first, second).max()) + 1,
        n_compartments=len(np.unique(compartments)),
        unreferenced=(~used).nonzero()[:, 0],
        worst_volume=float(volumes.min()),
    )


def require_valid(mesh: TetMesh, *, name: str = "mesh") -> None:
    """Raise a one-line `MeshError` that starts with `name`, of a file say, where `mesh` has a problem."""
    problems = validate(mesh).problems
    if problems:
        raise MeshError(f"{name}: {'; '.join(problems)}")


def _listed(indices: Tensor) -> str:
    return " ".join(str(int(i)) for i in indices)


def _shared_by_more_than_two(rows: Tensor) -> Tensor:
    number, counts = same_rows(rows)
    many: Tensor = torch.unique(rows[counts[number] > 2].sort(dim=1).values, dim=0)
    return many


def _common_faces(tets: np.ndarray, first: np.ndarray, second: np.ndarray) -> Tensor:
    shared = (tets[first][:, :, None] == tets[second][:, None, :]).any(2)
    # two different tets on a shared face have three common corners; copies of one tet have four
    faces = [np.sort(corners[common])[:3] for corners, common in zip(tets[first], shared, strict=True)]
    return torch.as_tensor(np.array(faces, dtype=np.int64).reshape(-1, 3))


def _triangle_edges(triangles: Tensor) -> Tensor:
    return torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def parts_of(compartments: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the part (T,) of each tet: those of one compartment that are connected by face pairs."""
    n = len(compartments)
    inside = compartments[first] == compartments[second]
    graph = coo_array((np.ones(inside.sum(), dtype=np.int8), (first[inside], second[inside])), shape=(n, n))
    parts: np.ndarray = connected_components(graph, directed=False)[1]
    return parts

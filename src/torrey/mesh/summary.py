"""What a mesh or a surface holds, in a few lines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import MeshError
from .compartments import split_compartments
from .quality import QualitySummary, summarise_quality
from .surface import Surface
from .tetmesh import TetMesh
from .tetrahedralize import require_closed
from .validate import require_valid


@dataclass(frozen=True)
class MeshSummary:
    """Size, compartments and quality of a mesh that is fit for simulation.

    Attributes
    ----------
    n_vertices, n_tets : int
    volumes : tuple of float
        Of each compartment, µm³.
    wall_areas : tuple of float
        Of the outer boundary of each compartment, µm².
    interface_areas : mapping of pairs of compartments
        µm².
    quality : QualitySummary
    """

    n_vertices: int
    n_tets: int
    volumes: tuple[float, ...]
    wall_areas: tuple[float, ...]
    interface_areas: dict[tuple[int, int], float]
    quality: QualitySummary

    def __str__(self) -> str:
        q = self.quality
        sizes = zip(self.volumes, self.wall_areas, strict=True)
        return "\n".join(
            [
                f"vertices       {self.n_vertices}",
                f"tets           {self.n_tets}",
                *(
                    f"compartment {i}  {volume:.5g} µm³, outer boundary {area:.5g} µm²"
                    for i, (volume, area) in enumerate(sizes)
                ),
                *(f"interface {i}-{j}  {area:.5g} µm²" for (i, j), area in self.interface_areas.items()),
                f"quality        {q.minimum:.3g} worst (tet {q.worst_tet}), {q.mean:.3g} mean (regular 1)",
                f"edges          {q.shortest_edge:.3g} … {q.longest_edge:.3g} µm, {q.mean_edge:.3g} mean",
                "fit for simulation",
            ]
        )


@dataclass(frozen=True)
class SurfaceSummary:
    """Size of a closed surface: numbers of vertices and triangles, area (µm²) and volume (µm³)."""

    n_vertices: int
    n_triangles: int
    area: float
    volume: float

    def __str__(self) -> str:
        return "\n".join(
            [
                f"vertices       {self.n_vertices}",
                f"triangles      {self.n_triangles}",
                f"area           {self.area:.5g} µm²",
                f"encloses       {self.volume:.5g} µm³",
                "closed, fit for filling",
            ]
        )


def summarise(mesh: TetMesh, *, name: str = "mesh") -> MeshSummary:
    """Return what `mesh` holds.

    Raises
    ------
    MeshError
        When it is not fit for simulation: what `validate` finds, cracks, and walls of compartments that do
        not match. The message starts with `name`.
    """
    require_valid(mesh, name=name)
    try:
        split = split_compartments(mesh)
    except MeshError as error:
        raise MeshError(f"{name}:{str(error).removeprefix('mesh:')}") from error
    vertices, n = mesh.vertices.detach(), mesh.n_compartments
    own = torch.zeros(n, dtype=vertices.dtype, device=vertices.device)
    areas = Surface(vertices[split.parent], split.walls).areas
    shared = Surface(vertices[split.parent], split.interfaces[:, 0]).areas
    pairs = torch.unique(split.sides, dim=0).tolist()
    return MeshSummary(
        mesh.n_vertices,
        mesh.n_tets,
        tuple(own.index_add(0, mesh.compartments, mesh.volumes.detach()).tolist()),
        tuple(own.index_add(0, split.wall_compartments, areas).tolist()),
        {(i, j): float(shared[split.between(i, j)].sum()) for i, j in pairs},
        summarise_quality(mesh),
    )


def summarise_surface(surface: Surface, *, name: str = "surface") -> SurfaceSummary:
    """Return the size of a closed `surface`.

    Raises
    ------
    MeshError
        When it is open, non-manifold or inconsistently oriented. The message starts with `name`.
    """
    require_closed(surface, name=name)
    area, volume = float(surface.area), float(surface.enclosed_volume)
    return SurfaceSummary(len(surface.vertices), len(surface.triangles), area, volume)

"""Read and write tetrahedral meshes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FileError, MeshError
from ..replace import replaced_when_written
from .meshio_files import read_with_meshio, require_file, write_with_meshio
from .surface_files import SURFACE_SUFFIXES, describe_surface, triangles_of, write_surface
from .tetgen import read_tetgen, tetgen_pair, write_tetgen
from .tetmesh import TetMesh
from .validate import require_valid

COMPARTMENT_NAMES = (
    "compartment",
    "compartments",
    "medit:ref",
    "gmsh:physical",
    "tetgen:ref",
    "avsucd:material",
    "nastran:ref",
    "ugrid:ref",
    "su2:tag",
    "cell_tags",
    "attribute",
    "attributes",
    "label",
    "labels",
    "region",
    "material",
    "gmsh:geometrical",
)
"""Cell data that are read as compartments; the first one present is taken."""

SMALLEST_EXTENT, LARGEST_EXTENT = 0.05, 1e5
"""A mesh whose largest extent (µm) is outside these is taken for one in another unit."""

WRITTEN_SUFFIXES = (".vtu", ".vtk", ".msh", ".mesh", ".xdmf", ".node", ".ele", *SURFACE_SUFFIXES)
"""Extensions that are offered for meshes to write; `write_mesh` takes others of meshio too."""

_SOLIDS = ("hexahedron", "wedge", "pyramid")
_LABEL_FORMATS = {".vtu", ".vtk", ".xdmf", ".xmf", ".msh", ".mesh", ".meshb"}


def read_mesh(path: str | os.PathLike[str]) -> TetMesh:
    """Return the tetrahedral mesh in a file; coordinates are µm.

    Every format that meshio reads (`.vtu`, `.vtk`, `.msh`, `.mesh`, `.xdmf`, …), and TetGen's `.node`/`.ele`
    pairs given as either file or their common stem. Tets with mixed corner order are turned alike.
    Compartments are the first cell data of `COMPARTMENT_NAMES`, renumbered 0 … C − 1 by rising label.
    Second-order tets keep their four corners, which needs straight edges. Vertices in no tet are left out.
    Other cells of lower dimension are ignored.

    Raises
    ------
    FileError
        When the file is missing, empty, unreadable or of an unknown format.
    MeshError
        When the mesh is not fit for simulation; the message names the file.
    """
    file = Path(path)
    points, cells, labels = _read_arrays(file)
    points = np.asarray(points, dtype=np.float64)
    if cells.shape[1] == 10:
        _require_straight(file, points, cells)
    tets = cells[:, :4].astype(np.int64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise MeshError(f"{file}: vertices have {points.shape[-1]} coordinates, expected 3")
    try:
        TetMesh(torch.as_tensor(points), torch.as_tensor(tets))
        used, tets = np.unique(tets, return_inverse=True)
        tets = tets.reshape(-1, 4)
        mesh = TetMesh(torch.as_tensor(points[used]), torch.as_tensor(tets), _compartments(labels, len(tets)))
    except MeshError as error:
        raise MeshError(f"{file}: {error}") from error
    require_micrometres(mesh.vertices, name=str(file))
    require_valid(mesh, name=str(file))
    return mesh


def write_mesh(mesh: TetMesh, path: str | os.PathLike[str]) -> None:
    """Write `mesh` to a file by its extension; the file appears only when it is whole.

    `.vtu` and the other formats of meshio, TetGen's pair for `.node` or `.ele`, and the outer boundary for
    `.ply`, `.stl`, `.obj` or `.off`.

    Raises
    ------
    FileError
        When the folder cannot be written, the format is unknown, or it cannot hold the compartments.
    MeshError
        When a tet is inverted.
    """
    file = Path(path)
    inverted = (mesh.volumes.detach() <= 0).nonzero()[:, 0]
    if len(inverted):
        raise MeshError(
            f"{file}: {len(inverted)} of {mesh.n_tets} tets are inverted (first: tet {int(inverted[0])}), "
            "expected none in a mesh to write"
        )
    if file.suffix.lower() in SURFACE_SUFFIXES:
        write_surface(mesh.surface, file)
        return
    points = mesh.vertices.detach().cpu().double().numpy()
    tets, labels = mesh.tets.cpu().numpy(), mesh.compartments.cpu().numpy()
    with replaced_when_written(file) as temporary:
        if file.suffix.lower() in (".node", ".ele"):
            write_tetgen(temporary, points, tets, labels)
        else:
            _write_by_meshio(temporary, file, points, tets, labels)


def require_micrometres(vertices: torch.Tensor, *, name: str = "mesh") -> None:
    """Raise a `MeshError` where the extent of `vertices` (V, 3) cannot be that of a cell in µm."""
    extent = float((vertices.amax(0) - vertices.amin(0)).max())
    if not SMALLEST_EXTENT <= extent <= LARGEST_EXTENT:
        raise MeshError(
            f"{name}: the largest extent is {extent:.3g}, expected {SMALLEST_EXTENT:g} … {LARGEST_EXTENT:g} "
            "µm (are the coordinates in another unit?)"
        )


def _read_arrays(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return points (V, 3), tets (T, 4 or 10) and labels (T,) or None, as the file holds them."""
    pair = tetgen_pair(file)
    if file.suffix in (".node", ".ele") or (not file.exists() and pair[1].exists()):
        if file.suffix in (".node", ".ele"):
            require_file(file)
        return read_tetgen(file)
    found = read_with_meshio(file)
    solids = {block.type for block in found.cells if block.type.startswith(_SOLIDS)}
    if solids:
        raise MeshError(f"{file}: holds {' and '.join(sorted(solids))} cells, expected tetrahedra only")
    blocks = [
        i for i, block in enumerate(found.cells) if block.type in ("tetra", "tetra10") and len(block.data)
    ]
    if not blocks:
        raise MeshError(f"{file}: {_instead_of_tets(found)}")
    kinds = {found.cells[i].type for i in blocks}
    if len(kinds) > 1:
        raise MeshError(f"{file}: mixes tets of first and second order, expected one kind")
    name = next((name for name in COMPARTMENT_NAMES if name in found.cell_data), None)
    labels = None if name is None else np.concatenate([np.asarray(found.cell_data[name][i]) for i in blocks])
    return found.points, np.concatenate([found.cells[i].data for i in blocks]), labels


def _instead_of_tets(found: Any) -> str:
    triangles = triangles_of(found)
    if not len(triangles):
        kinds = ", ".join(sorted({block.type for block in found.cells})) or "no cells"
        return f"holds no tetrahedra ({kinds}), expected a tetrahedral mesh"
    what = describe_surface(triangles)
    if what.startswith("a closed"):
        return f"holds {what} and no tetrahedra; fill it with torrey.mesh.tetrahedralize(read_surface(…))"
    return f"holds {what} and no tetrahedra; expected tetrahedra, or a closed surface for tetrahedralize"


def _compartments(labels: np.ndarray | None, n_tets: int) -> torch.Tensor:
    if labels is None:
        return torch.zeros(n_tets, dtype=torch.long)
    if labels.shape != (n_tets,) or not np.isfinite(labels).all() or (labels != np.round(labels)).any():
        raise MeshError(f"compartments: labels of shape {labels.shape}, expected one integer for each tet")
    return torch.as_tensor(np.unique(labels, return_inverse=True)[1].reshape(-1))


def _require_straight(file: Path, points: np.ndarray, cells: np.ndarray) -> None:
    """Raise where a midside node is off the middle of its edge: four corners would lose that geometry."""
    if cells.min() < 0 or cells.max() >= len(points):
        return  # reported by TetMesh, with the number of the vertex
    corners = points[cells[:, :4]]
    middles = np.stack([corners[:, i] + corners[:, j] for i in range(4) for j in range(i)], axis=1) / 2
    size = np.linalg.norm(corners.max(1) - corners.min(1), axis=1)
    # the order of midside nodes differs between formats, so the nearest middle is taken
    gap = np.linalg.norm(points[cells[:, 4:], None] - middles[:, None], axis=-1).min(axis=2).max(axis=1)
    curved = gap > 1e-5 * size
    if curved.any():
        raise MeshError(
            f"{file}: {curved.sum()} of {len(cells)} second-order tets are curved (first: tet "
            f"{int(np.flatnonzero(curved)[0])}), expected straight edges; write the mesh with linear tets"
        )


def _write_by_meshio(
    path: Path, name: Path, points: np.ndarray, tets: np.ndarray, labels: np.ndarray
) -> None:
    import meshio

    suffix = name.suffix.lower()
    if labels.any() and suffix not in _LABEL_FORMATS:
        raise FileError(f"{name}: {suffix} cannot hold the {labels.max() + 1} compartments; use .vtu")
    options: dict[str, Any] = {}
    cell_data: dict[str, list[np.ndarray]] = {}
    if suffix == ".msh":
        options["file_format"] = "gmsh22"  # version 4 as meshio writes it has no place for tags of cells
        tags = labels.astype(np.int32) + 1
        cell_data = {"gmsh:physical": [tags], "gmsh:geometrical": [tags]}
    elif suffix in (".mesh", ".meshb"):
        cell_data = {"medit:ref": [labels]}
    elif suffix in _LABEL_FORMATS:
        cell_data = {"compartment": [labels]}
    write_with_meshio(path, meshio.Mesh(points, [("tetra", tets)], cell_data=cell_data), name=name, **options)

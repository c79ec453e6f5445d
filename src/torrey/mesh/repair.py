"""Make a surface from electron microscopy closed, oriented and lighter, and say what was changed."""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch

from ..errors import InputError, MeshError, MissingLibraryError
from .faces import same_rows
from .nearest import TriangleTarget
from .orientation import turns
from .repair_report import RepairReport
from .surface import Surface
from .surface_files import triangle_edges
from .tetrahedralize import require_closed

_SAME_POINT = 1e-7
"""Vertices nearer than this fraction of the extent are one: the rounding of a binary STL."""

_FEWEST = 20
"""Triangles below which a surface is no cell any more."""


def repair(
    surface: Surface,
    *,
    keep: Literal["largest", "all"] = "largest",
    edge_length: float | None = None,
    n_triangles: int | None = None,
) -> tuple[Surface, RepairReport]:
    """Return a closed surface with its triangles outwards, and what was done to get there.

    Copies of vertices are merged, degenerate and duplicate triangles and fragments dropped, triangles turned
    alike and outwards, and holes filled with fans. Then the surface is simplified where asked (Garland and
    Heckbert, SIGGRAPH 1997). Self-intersections are not looked for.

    Parameters
    ----------
    surface : Surface
        µm.
    keep : "largest" or "all"
        The part with the largest area, or every part. Parts inside others are turned outwards too: cavities
        are filled.
    edge_length : float, optional
        Simplify to equilateral triangles of this edge by their number, µm.
    n_triangles : int, optional
        Simplify to this number of triangles.

    Raises
    ------
    InputError
        When an option is out of range.
    MissingLibraryError
        When trimesh, or fast-simplification where it is needed, is not installed.
    MeshError
        When the surface is not closed and manifold after all; the message says what remains.
    """
    _check_options(keep, edge_length, n_triangles)
    trimesh = _library("trimesh")
    before = Surface(surface.vertices.detach().cpu().double(), surface.triangles.cpu())
    mesh = trimesh.Trimesh(before.vertices.numpy(), before.triangles.numpy(), process=False)
    merged, degenerate, duplicate = _clean(mesh)
    if not len(mesh.faces):
        raise MeshError(f"repair: none of {len(before.triangles)} triangles has an area, expected a surface")
    dropped = _drop_fragments(mesh) if keep == "largest" else ()
    kept = _surface(mesh)
    original = mesh.faces.copy()
    mesh.faces = _oriented(kept)
    holes = _hole_lengths(mesh)
    trimesh.repair.fill_holes(mesh, use_fan=True)
    mesh.faces = _outwards(_surface(mesh))
    turned = int((mesh.faces[: len(original)] != original).any(1).sum())
    after = _surface(mesh)
    require_closed(after, name="repaired surface")
    if edge_length is not None:
        n_triangles = round(float(after.area) / (math.sqrt(3) / 4 * edge_length**2))
        if n_triangles < _FEWEST:
            raise InputError(
                f"repair: edge_length {edge_length:g} µm leaves {n_triangles} triangles, expected more"
            )
    if n_triangles is not None and n_triangles < len(after.triangles):
        after = _simplified(after, n_triangles)
        require_closed(after, name="simplified surface")
    distances = _distances(kept, after)
    report = RepairReport(
        merged_vertices=merged,
        degenerate_triangles=degenerate,
        duplicate_triangles=duplicate,
        turned_triangles=turned,
        dropped_areas=dropped,
        hole_lengths=holes,
        triangles_before=len(before.triangles),
        triangles_after=len(after.triangles),
        volume_before=_volume(before),
        volume_after=float(after.enclosed_volume),
        area_before=float(before.area),
        area_after=float(after.area),
        farthest=float(distances.max()),
        mean_distance=float(distances.mean()),
    )
    return after, report


def _check_options(keep: str, edge_length: float | None, n_triangles: int | None) -> None:
    if keep not in ("largest", "all"):
        raise InputError(f"repair: keep is {keep!r}, expected 'largest' or 'all'")
    if edge_length is not None and n_triangles is not None:
        raise InputError("repair: edge_length and n_triangles, expected one of them")
    if edge_length is not None and not (edge_length > 0 and math.isfinite(edge_length)):
        raise InputError(f"repair: edge_length is {edge_length}, expected a positive number of µm")
    if n_triangles is not None and n_triangles < _FEWEST:
        raise InputError(f"repair: n_triangles is {n_triangles}, expected at least {_FEWEST}")


def _clean(mesh: Any) -> tuple[int, int, int]:
    """Merge vertices, drop triangles without area and copies; return the number of each."""
    used = len(np.unique(mesh.faces))
    extent = float(mesh.extents.max())
    if not extent > 0:
        raise MeshError("repair: all vertices lie at one point, expected a surface")
    mesh.merge_vertices(digits_vertex=math.ceil(-math.log10(_SAME_POINT * extent)))
    mesh.remove_unreferenced_vertices()
    n = len(mesh.faces)
    mesh.update_faces(mesh.nondegenerate_faces(height=_SAME_POINT * extent))
    flat = n - len(mesh.faces)
    mesh.update_faces(mesh.unique_faces())
    copies = n - flat - len(mesh.faces)
    merged = used - len(mesh.vertices)
    mesh.remove_unreferenced_vertices()
    return merged, flat, copies


def _drop_fragments(mesh: Any) -> tuple[float, ...]:
    """Keep the part with the largest area; return the areas of the others."""
    part = _neighbours(torch.as_tensor(mesh.faces))[1]
    areas = np.bincount(part, weights=mesh.area_faces)
    mesh.update_faces(part == areas.argmax())
    mesh.remove_unreferenced_vertices()
    return tuple(sorted(np.delete(areas, areas.argmax()).tolist(), reverse=True))


def _oriented(surface: Surface) -> np.ndarray:
    """Return the triangles (F, 3), turned so that neighbours agree."""
    flip, _ = _neighbours(surface.triangles)
    triangles = surface.triangles.numpy()
    return np.where(flip[:, None], triangles[:, ::-1], triangles)


def _outwards(surface: Surface) -> np.ndarray:
    """Return the triangles (F, 3), with every part that encloses a negative volume turned."""
    part = _neighbours(surface.triangles)[1]
    a, b, c = surface.vertices.numpy()[surface.triangles.numpy()].transpose(1, 0, 2)
    volumes = np.bincount(part, weights=(a * np.cross(b, c)).sum(1))
    triangles = surface.triangles.numpy()
    return np.where((volumes < 0)[part][:, None], triangles[:, ::-1], triangles)


def _neighbours(triangles: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `triangles` (F, 3) to turn so that those across an edge agree, and the part of each."""
    edges = triangle_edges(triangles)
    number, counts = same_rows(edges)
    order = torch.argsort(number, stable=True)
    order = order[counts[number[order]] == 2]
    first, second = order.view(-1, 2).unbind(1)
    opposite = edges[first, 0] != edges[second, 0]
    n = len(triangles)
    return turns((first % n).numpy(), (second % n).numpy(), opposite.numpy(), n)


def _hole_lengths(mesh: Any) -> tuple[float, ...]:
    """Return the length of every closed rim of edges with one triangle, µm, the longest first."""
    outline = mesh.outline()
    return tuple(
        sorted((float(entity.length(outline.vertices)) for entity in outline.entities), reverse=True)
    )


def _simplified(surface: Surface, n_triangles: int) -> Surface:
    library = _library("fast_simplification")
    points, triangles = library.simplify(
        surface.vertices.numpy(), surface.triangles.numpy().astype(np.int64), target_count=n_triangles
    )
    return Surface.from_indexed(
        torch.as_tensor(points, dtype=torch.float64), torch.as_tensor(triangles.astype(np.int64))
    )


def _distances(before: Surface, after: Surface) -> np.ndarray:
    """Return how far vertices and middles of triangles of either surface are from the other, µm."""
    arrays = [(surface.vertices.numpy(), surface.triangles.numpy()) for surface in (before, after)]
    points = [np.concatenate([vertices, vertices[triangles].mean(1)]) for vertices, triangles in arrays]
    targets = [TriangleTarget(*array) for array in arrays]
    return np.concatenate([targets[1].distance(points[0]), targets[0].distance(points[1])])


def _surface(mesh: Any) -> Surface:
    return Surface(
        torch.as_tensor(np.array(mesh.vertices)), torch.as_tensor(np.array(mesh.faces, dtype=np.int64))
    )


def _volume(surface: Surface) -> float | None:
    try:
        require_closed(surface)
    except MeshError:
        return None
    return float(surface.enclosed_volume)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingLibraryError(f'repair needs {name}: pip install "torrey[repair]"') from error

"""Read and write triangle surfaces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import MeshError
from ..replace import replaced_when_written
from .faces import same_rows
from .meshio_files import read_with_meshio, write_with_meshio
from .surface import Surface

SURFACE_SUFFIXES = (".ply", ".stl", ".obj", ".off")
"""Extensions of the formats that hold surfaces only."""


def read_surface(path: str | os.PathLike[str]) -> Surface:
    """Return the triangles in a `.ply`, `.stl`, `.obj` or other file that meshio reads; coordinates are µm.

    Quadrilaterals are cut in two. A surface that encloses a negative volume is turned inside out.

    Raises
    ------
    FileError
        When the file is missing, empty, unreadable or of an unknown format.
    MeshError
        When it holds no triangles, a coordinate is not finite, or a triangle names a vertex that does not
        exist.
    """
    file = Path(path)
    found = read_with_meshio(file)
    triangles = triangles_of(found)
    points = np.asarray(found.points, dtype=np.float64)
    if not len(triangles):
        raise MeshError(f"{file}: holds no triangles, expected a surface")
    if points.ndim != 2 or points.shape[1] != 3:
        raise MeshError(f"{file}: vertices have {points.shape[-1]} coordinates, expected 3")
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise MeshError(f"{file}: vertex {row} is {points[row].tolist()}, expected finite numbers (µm)")
    outside = ((triangles < 0) | (triangles >= len(points))).any(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise MeshError(
            f"{file}: triangle {row} names vertices {triangles[row].tolist()}, expected 0 … {len(points) - 1}"
        )
    surface = Surface.from_indexed(torch.as_tensor(points), torch.as_tensor(triangles))
    if float(surface.enclosed_volume) < 0 and not len(open_edges(surface.triangles)):
        return Surface(surface.vertices, surface.triangles.flip(1))
    return surface


def write_surface(surface: Surface, path: str | os.PathLike[str]) -> None:
    """Write `surface` to a `.ply`, `.stl`, `.obj` or `.off` file; the file appears only when it is whole.

    Raises
    ------
    FileError
        When the folder cannot be written or the format is unknown.
    """
    import meshio

    file = Path(path)
    points = surface.vertices.detach().cpu().double().numpy()
    cells = [("triangle", surface.triangles.cpu().numpy().astype(np.int32))]
    with replaced_when_written(file) as temporary:
        write_with_meshio(temporary, meshio.Mesh(points, cells), name=file)


def triangles_of(found: Any) -> np.ndarray:
    """Return the triangles (F, 3) of a `meshio.Mesh`, with quadrilaterals cut in two."""
    parts = [np.empty((0, 3), dtype=np.int64)]
    for block in found.cells:
        if block.type == "triangle":
            parts.append(np.asarray(block.data))
        elif block.type == "quad":
            parts += [np.asarray(block.data)[:, [0, 1, 2]], np.asarray(block.data)[:, [0, 2, 3]]]
    return np.concatenate(parts).astype(np.int64)


def triangle_edges(triangles: Tensor) -> Tensor:
    """Return the three directed edges of each of `triangles` (F, 3) as rows (3F, 2)."""
    return torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def open_edges(triangles: Tensor) -> Tensor:
    """Return the edges (k, 2) that belong to one only of `triangles` (F, 3)."""
    edges = triangle_edges(triangles)
    number, counts = same_rows(edges)
    return edges[counts[number] == 1]


def describe_surface(triangles: np.ndarray) -> str:
    """Return "a closed surface of F triangles", or "an open surface …" with the number of open edges."""
    n_open = len(open_edges(torch.as_tensor(triangles)))
    if n_open:
        return f"an open surface of {len(triangles)} triangles ({n_open} edges with one triangle only)"
    return f"a closed surface of {len(triangles)} triangles"

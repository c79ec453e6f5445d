"""Structured meshes of simple shapes, at any resolution and without an external mesher."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import torch

from ..errors import InputError
from .disc import disc
from .subdivide import subdivide
from .sweep import sweep_connectivity
from .tetmesh import TetMesh
from .volumes import tet_volumes


def sphere(radius: float, *, resolution: int = 4) -> TetMesh:
    """Return a ball centred on the origin, with exactly the volume of the smooth ball.

    The twenty tets between the centre and the faces of an icosahedron are subdivided, and every layer is
    projected on a sphere. Surface area and shape converge with the square of the edge length,
    radius/resolution.

    Parameters
    ----------
    radius : float
        µm.
    resolution : int
        Number n of layers between centre and surface: 1 + Σ(10k² + 2) vertices (147 for 3, 3 871 for 10, 49
        049 for 24) and 20·n³ tets.
    """
    _require_positive("sphere", radius=radius)
    _require_counts("sphere", resolution=resolution)
    corners, coarse = _icosahedron()
    weights, tets = subdivide(coarse, resolution)
    points = weights @ corners
    distance = np.linalg.norm(points, axis=1, keepdims=True)
    layer = (resolution - weights[:, :1]) / resolution
    vertices = torch.as_tensor(layer * points / np.where(distance > 0, distance, 1))
    connectivity = torch.as_tensor(tets)
    volume = tet_volumes(vertices, connectivity).sum()
    scale = (4 / 3 * math.pi / volume) ** (1 / 3)
    return TetMesh(radius * scale * vertices, connectivity)


def cylinder(radius: float, length: float, *, n_rings: int = 4, n_layers: int = 8) -> TetMesh:
    """Return a cylinder along z, centred on the origin, with exactly the volume of the smooth cylinder.

    Parameters
    ----------
    radius, length : float
        µm.
    n_rings : int
        Rings of vertices around the axis: 1 + 3·n_rings·(n_rings + 1) vertices in a cross-section.
    n_layers : int
        Layers of cells along z.
    """
    _require_positive("cylinder", radius=radius, length=length)
    _require_counts("cylinder", n_rings=n_rings, n_layers=n_layers)
    points, triangles = disc(n_rings)
    heights = torch.linspace(-length / 2, length / 2, n_layers + 1, dtype=torch.float64)
    z = heights.repeat_interleave(len(points))
    vertices = torch.cat([radius * points.repeat(n_layers + 1, 1), z[:, None]], dim=1)
    return TetMesh(vertices, sweep_connectivity(triangles, len(points), n_layers))


def box(lengths: tuple[float, float, float], cells: tuple[int, int, int]) -> TetMesh:
    """Return a box centred on the origin, each of its `cells` cut in the six Kuhn tets.

    Parameters
    ----------
    lengths : (float, float, float)
        Extents along x, y and z, µm.
    cells : (int, int, int)
        Number of cells along each.
    """
    for axis, length, count in zip("xyz", lengths, cells, strict=True):
        _require_positive("box", **{f"length along {axis}": length})
        _require_counts("box", **{f"cells along {axis}": count})
    axes = [
        torch.linspace(-length / 2, length / 2, count + 1, dtype=torch.float64)
        for length, count in zip(lengths, cells, strict=True)
    ]
    vertices = torch.cartesian_prod(*axes)
    number = np.arange(len(vertices)).reshape([count + 1 for count in cells])
    corner = number[:-1, :-1, :-1].reshape(-1)
    strides = np.array([(cells[1] + 1) * (cells[2] + 1), cells[2] + 1, 1])
    steps = []
    for order in permutations(range(3)):
        path = np.concatenate([[0], np.cumsum(strides[list(order)])])
        odd = sum(i > j for i, j in combinations(order, 2)) % 2
        steps.append(path[[1, 0, 2, 3]] if odd else path)
    return TetMesh(vertices, torch.as_tensor((corner[:, None, None] + np.array(steps)).reshape(-1, 4)))


def _icosahedron() -> tuple[np.ndarray, np.ndarray]:
    """Return centre and corners (13, 3) of an icosahedron, and a positive tet (20, 4) below each face."""
    golden = (1 + math.sqrt(5)) / 2
    corners: list[tuple[float, float, float]] = [(0, 0, 0)]
    for a in (-1, 1):
        for b in (-golden, golden):
            corners += [(0, a, b), (a, b, 0), (b, 0, a)]
    points = np.array(corners, dtype=float)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    faces = []
    for i, j, k in combinations(range(1, 13), 3):
        if max(distance[i, j], distance[j, k], distance[i, k]) < 2.1:  # edges are 2 long, other pairs over 3
            outwards = np.linalg.det(points[[i, j, k]]) > 0
            faces.append((0, i, j, k) if outwards else (0, i, k, j))
    return points, np.array(faces)


def _require_positive(what: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{what}: {name} is {value}, expected a positive number of µm")


def _require_counts(what: str, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{what}: {name} is {count}, expected at least 1")

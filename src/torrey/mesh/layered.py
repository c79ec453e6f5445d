"""Concentric compartments: a nucleus in its cell, an axon in its myelin, structured."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .disc import disc
from .subdivide import subdivide
from .sweep import sweep_connectivity
from .tetmesh import TetMesh
from .volumes import tet_volumes


def layered_sphere(radii: Sequence[float], *, resolution: int = 6) -> TetMesh:
    """Return concentric spherical compartments, 0 innermost, each with exactly the volume of the smooth one.

    The twenty tets between the centre and the faces of an icosahedron are subdivided, and every layer is
    projected on a sphere. Neighbouring compartments share the vertices between them. Surface areas and shape
    converge with the square of the edge length, radius/resolution.

    Parameters
    ----------
    radii : (C,) sequence of float
        Outer radius of each compartment, increasing, µm.
    resolution : int
        Number n of layers between centre and surface, which are shared out by thickness, at least one to each
        compartment: 1 + Σ(10k² + 2) vertices (147 for 3, 3 871 for 10, 49 049 for 24) and 20·n³ tets.

    Raises
    ------
    InputError
        When the radii are not positive and increasing, or there are too few layers for them.
    """
    _require_radii("layered_sphere", radii)
    ends = _shared_out("layered_sphere", radii, resolution=resolution)
    corners, coarse = _icosahedron()
    weights, tets = subdivide(coarse, resolution)
    points = weights @ corners
    distance = np.linalg.norm(points, axis=1, keepdims=True)
    directions = torch.as_tensor(points / np.where(distance > 0, distance, 1))
    layer = torch.as_tensor(resolution - weights[:, 0])
    connectivity = torch.as_tensor(tets)
    compartments = _compartments(layer[connectivity], ends)
    volumes = tet_volumes(layer[:, None] * directions, connectivity)
    # the polyhedron in layer k has this share of the ball of radius k
    inside = torch.stack([volumes[compartments <= c].sum() for c in range(len(ends))])
    share = inside / (4 / 3 * math.pi * ends.double() ** 3)
    radius = _interpolated(layer, ends, torch.tensor(radii, dtype=torch.float64) * share ** (-1 / 3))
    mesh = TetMesh(radius[:, None] * directions, connectivity, compartments)
    return _unfolded("layered_sphere", mesh, radii, resolution=resolution)


def layered_cylinder(
    radii: Sequence[float], length: float, *, n_rings: int = 6, n_layers: int = 8
) -> TetMesh:
    """Return coaxial compartments along z, 0 innermost, each with exactly the volume of the smooth one.

    Neighbouring compartments share the vertices between them; the centre is the origin.

    Parameters
    ----------
    radii : (C,) sequence of float
        Outer radius of each compartment, increasing, µm.
    length : float
        µm.
    n_rings : int
        Rings of vertices around the axis, which are shared out by thickness, at least one to each
        compartment: 1 + 3·n_rings·(n_rings + 1) vertices in a cross-section.
    n_layers : int
        Layers of cells along z.

    Raises
    ------
    InputError
        When the radii are not positive and increasing, or there are too few rings for them.
    """
    _require_radii("layered_cylinder", radii)
    if not (length > 0 and math.isfinite(length)):
        raise InputError(f"layered_cylinder: length is {length}, expected a positive number of µm")
    if n_layers < 1:
        raise InputError(f"layered_cylinder: n_layers is {n_layers}, expected at least 1")
    ends = _shared_out("layered_cylinder", radii, n_rings=n_rings)
    points, triangles = disc(n_rings)
    ring = torch.arange(n_rings + 1).repeat_interleave(torch.tensor([1, *range(6, 6 * n_rings + 1, 6)]))
    # every ring of the disc encloses the area of its circle
    radius = _interpolated(ring, ends, torch.tensor(radii, dtype=torch.float64))
    points = points * (radius * n_rings / ring.clamp(min=1))[:, None]
    heights = torch.linspace(-length / 2, length / 2, n_layers + 1, dtype=torch.float64)
    z = heights.repeat_interleave(len(points))
    vertices = torch.cat([points.repeat(n_layers + 1, 1), z[:, None]], dim=1)
    compartments = _compartments(ring[triangles], ends).repeat_interleave(3).repeat(n_layers)
    mesh = TetMesh(vertices, sweep_connectivity(triangles, len(points), n_layers), compartments)
    return _unfolded("layered_cylinder", mesh, radii, n_rings=n_rings)


def _shared_out(what: str, radii: Sequence[float], **layers: int) -> Tensor:
    """Return the outermost layer (C,) of each compartment, by its radius, of so many `layers`."""
    ((name, n),) = layers.items()
    if n < len(radii):
        raise InputError(f"{what}: {name} is {n}, expected at least {len(radii)}, one for each compartment")
    ends, last = [], 0
    for later, radius in zip(range(len(radii) - 1, -1, -1), radii, strict=True):
        last = min(max(round(n * radius / radii[-1]), last + 1), n - later)
        ends.append(last)
    return torch.tensor(ends)


def _interpolated(layer: Tensor, ends: Tensor, radii: Tensor) -> Tensor:
    """Return the radius (V,) of each `layer` (V,), evenly spaced between those of `ends`."""
    return torch.as_tensor(np.interp(layer, [0, *ends.tolist()], [0.0, *radii.tolist()]))


def _compartments(layers: Tensor, ends: Tensor) -> Tensor:
    """Return the compartment of cells with corners in these `layers` (T, k)."""
    return torch.searchsorted(ends, layers.amax(1))


def _unfolded(what: str, mesh: TetMesh, radii: Sequence[float], **layers: int) -> TetMesh:
    """Return `mesh` unless the facets of one interface cut through the next, which lies close by."""
    if bool((mesh.volumes <= 0).any()):
        ((name, n),) = layers.items()
        raise InputError(f"{what}: {name} is {n}, expected more for compartments as thin as of radii {radii}")
    return mesh


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
    for i, j, k in itertools.combinations(range(1, 13), 3):
        if max(distance[i, j], distance[j, k], distance[i, k]) < 2.1:  # edges are 2 long, other pairs over 3
            outwards = np.linalg.det(points[[i, j, k]]) > 0
            faces.append((0, i, j, k) if outwards else (0, i, k, j))
    return points, np.array(faces)


def _require_radii(what: str, radii: Sequence[float]) -> None:
    if len(radii) == 0 or not all(a < b < math.inf for a, b in itertools.pairwise([0.0, *radii])):
        raise InputError(f"{what}: radii are {tuple(radii)}, expected positive, increasing numbers of µm")

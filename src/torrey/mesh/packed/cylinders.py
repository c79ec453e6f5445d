"""Parallel cylinders, with myelin or without, and the space around them."""

from __future__ import annotations

import math

import numpy as np
import torch

from ...errors import InputError
from ..sweep import sweep_connectivity
from ..tetmesh import TetMesh
from .curves import Circle, Polygon
from .extracellular import Extracellular
from .packing import Packing
from .triangulate import triangulate


def cylinders(
    packing: Packing,
    length: float,
    *,
    edge_length: float,
    extracellular: Extracellular | None = None,
    g_ratio: float | None = None,
    n_layers: int | None = None,
) -> TetMesh:
    """Return the parallel cylinders of `packing` along z, and the space around them.

    The cross-section is triangulated by Delaunay refinement, finer in narrow gaps, and swept. Every cylinder
    has exactly the volume of the smooth one, as has the square around them; compartments share their vertices
    where they touch.

    Parameters
    ----------
    packing : Packing
        n discs in a square: the outer walls of cells or of their myelin.
    length : float
        Along z, µm, centred on the origin.
    edge_length : float
        About the longest edge across, µm. Circles have 12 edges or more whatever it is.
    extracellular : BoxAround, HullAround or WrapAround, optional
        Where the space around the cells ends; at the square of the packing where not given.
    g_ratio : float, optional
        Inner over outer radius of the myelin around each cylinder; none where not given.
    n_layers : int, optional
        Layers of tets along z; as thick as `edge_length` where not given. One is enough for gradients across.

    Returns
    -------
    TetMesh
        Compartments 0 … n − 1 are the cylinders, in the order of the packing, then their n sheaths of myelin
        where there are any, and the last is the extracellular space.

    Raises
    ------
    InputError
        When a number is out of range, or the packing is one of balls.
    """
    centres, radii = packing.centres.tolist(), packing.radii.tolist()
    if packing.centres.shape[1] != 2:
        raise InputError("cylinders: expected a packing of discs in a square, got one of balls in a cube")
    for name, value in (("length", length), ("edge_length", edge_length)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"cylinders: {name} is {value}, expected a positive number of µm")
    if g_ratio is not None and not 0 < g_ratio < 1:
        raise InputError(f"cylinders: g_ratio is {g_ratio}, expected between 0 and 1")
    half = packing.side / 2
    square = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
    outline = square if extracellular is None else extracellular.outline(packing, edge_length)
    shares = (1.0,) if g_ratio is None else (g_ratio, 1.0)
    circles = [Circle(x, y, share * r) for share in shares for (x, y), r in zip(centres, radii, strict=True)]
    points, triangles, region = triangulate([*circles, Polygon(outline)], edge_length)
    layers = math.ceil(length / edge_length) if n_layers is None else n_layers
    tets = sweep_connectivity(torch.from_numpy(triangles), len(points), layers)
    heights = torch.linspace(-length / 2, length / 2, layers + 1, dtype=torch.float64)
    vertices = torch.cat(
        [torch.from_numpy(points).repeat(layers + 1, 1), heights.repeat_interleave(len(points))[:, None]],
        dim=1,
    )
    compartments = torch.from_numpy(region).repeat_interleave(3).repeat(layers)
    return TetMesh(vertices, tets, compartments)

"""The prism on a regular polygon: the coarse axon template of the ReMiDi paper."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from .sweep import sweep_connectivity
from .tetmesh import TetMesh

_SHARE = 4
"""Sides of the polygon that a point of the inner ring serves."""

_INNER = 0.45
"""Radius of the inner ring over that of the polygon: inner and outer edges then differ least."""


def polygon(n_sides: int) -> tuple[Tensor, Tensor]:
    """Return `(points, triangles)` of a regular polygon in the unit circle with one inner ring of points.

    Parameters
    ----------
    n_sides : int
        A multiple of 4, at least 12: each point of the inner ring serves four sides.

    Returns
    -------
    points : (5/4·n_sides, 2) float64 Tensor
        The corners counter-clockwise from angle 0, then the inner ring.
    triangles : (3/2·n_sides + n_sides/4 − 2, 3) int64 Tensor
        Counter-clockwise.
    """
    if n_sides < 12 or n_sides % _SHARE:
        raise InputError(f"polygon: n_sides is {n_sides}, expected a multiple of {_SHARE}, at least 12")
    n_inner = n_sides // _SHARE
    corner, inner = torch.arange(n_sides), torch.arange(n_inner)
    turn = 2 * math.pi / n_sides
    points = torch.cat(
        [_on_circle(corner.double() * turn, 1.0), _on_circle((inner.double() * _SHARE + 2) * turn, _INNER)]
    )
    server = n_sides + corner // _SHARE
    sides = torch.stack([corner, (corner + 1) % n_sides, server], dim=1)
    last = (inner + 1) * _SHARE % n_sides
    gaps = torch.stack([n_sides + inner, last, n_sides + (inner + 1) % n_inner], dim=1)
    core = torch.stack(
        [torch.full((n_inner - 2,), n_sides), n_sides + inner[1:-1], n_sides + inner[2:]], dim=1
    )
    return points, torch.cat([sides, gaps, core])


def prism(radius: float = 3.0, height: float = 9.0, *, n_sides: int = 12, n_layers: int = 20) -> TetMesh:
    """Return a prism along z on a regular polygon, centred on the origin.

    The usual arguments give 315 vertices and 960 tets: a mesh of the kind on which the ReMiDi paper (arXiv
    2502.01988) bends, beads and fans its axons. All vertices of a layer share their height, so that
    what moves, turns or scales whole layers turns no tet inside out while neighbouring layers are
    turned against each other by less than the angle between edges.

    Parameters
    ----------
    radius, height : float
        µm; the corners lie on the circle of `radius`, so the volume is that of the polygon.
    n_sides : int
        Corners of the polygon, a multiple of 4.
    n_layers : int
        Layers of cells along z.

    Raises
    ------
    InputError
        When a size is not positive or a count too small.
    """
    for name, value in (("radius", radius), ("height", height)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"prism: {name} is {value}, expected a positive number of µm")
    points, triangles = polygon(n_sides)
    tets = sweep_connectivity(triangles, len(points), n_layers)
    z = torch.linspace(-height / 2, height / 2, n_layers + 1, dtype=torch.float64)
    flat = (radius * points).expand(n_layers + 1, -1, -1)
    vertices = torch.cat([flat, z[:, None, None].expand(-1, len(points), 1)], dim=2)
    return TetMesh(vertices.reshape(-1, 3), tets)


def _on_circle(angle: Tensor, radius: float) -> Tensor:
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)

"""Cells with the space around them, structured, without an external mesher."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ..errors import InputError
from .templates import box
from .tetmesh import TetMesh
from .volumes import tet_volumes

_CORE = 1.35
"""Radius over that of the ball at which the corners of its innermost cubes lie: even cells."""

_SHELL = 1.3
"""Layers of the outer space for each layer of the ball of the same thickness."""


def sphere_in_box(radius: float, side: float, *, resolution: int = 4) -> TetMesh:
    """Return a ball, compartment 0, in the middle of a cube, compartment 1, both centred on the origin.

    The grid of a cube is taken to the ball inside a smaller cube, and drawn between the two outside. The ball
    has exactly the volume of the smooth one.

    Parameters
    ----------
    radius, side : float
        Of the ball and the cube, µm; the cube is wider than the ball.
    resolution : int
        Layers between the centre of the ball and its surface.

    Raises
    ------
    InputError
        When a length is not positive, the ball does not fit, or `resolution` is less than 1.
    """
    if not (0 < 2 * radius < side and math.isfinite(side)):
        raise InputError(
            f"sphere_in_box: radius {radius} and side {side}, expected a ball that fits the cube, µm"
        )
    if resolution < 1:
        raise InputError(f"sphere_in_box: resolution is {resolution}, expected at least 1")
    outer = max(1, round(_SHELL * resolution * (side / 2 - radius) / radius))
    grid, tets = _mirrored_grid(resolution + outer)
    layer = grid.abs().amax(1)
    inside = layer[tets].amax(1) <= resolution
    direction = torch.nn.functional.normalize(grid, dim=1)
    onto_cube = grid / layer.clamp(min=1)[:, None]
    depth = (layer / resolution).clamp(max=1)[:, None]
    core = depth * ((1 - depth) * onto_cube / _CORE + depth * direction)
    # mirroring turns half of the tets around, which `TetMesh` mends
    share = float(tet_volumes(core, tets[inside]).abs().sum()) / (4 / 3 * math.pi)
    surface = radius * share ** (-1 / 3)
    beyond = ((layer - resolution) / outer).clamp(min=0)[:, None]
    shell = (1 - beyond) * surface * direction + beyond * side / 2 * onto_cube
    return TetMesh(torch.where(beyond > 0, shell, surface * core), tets, (~inside).long())


def _mirrored_grid(n: int) -> tuple[Tensor, Tensor]:
    """Return integer points of [−n, n]³ and tets, whose diagonals all point away from the centre.

    So no tet has two faces on one of the cubes about the centre, which would become flat on a ball.
    """
    octant = box((1.0, 1.0, 1.0), (n, n, n))
    corner = ((octant.vertices + 0.5) * n).round().long()
    mirrors = torch.tensor(list(itertools.product((1, -1), repeat=3)))
    points = (mirrors[:, None] * corner).reshape(-1, 3)
    unique, index = torch.unique(points, dim=0, return_inverse=True)
    tets = torch.cat([octant.tets + k * len(corner) for k in range(len(mirrors))])
    return unique.double(), index[tets]

"""A warning where a mesh is too coarse for a gradient."""

from __future__ import annotations

import warnings

import torch

from ..acquisition import Acquisition
from ..errors import AccuracyWarning
from ..mesh import TetMesh

_RADIANS_PER_EDGE = {1: 1.0, 2: 2.0}
"""Phase that a pulse winds along a mean edge above which the mesh is called coarse, by element order."""


def warn_coarse_mesh(mesh: TetMesh, acquisition: Acquisition, order: int, *, stacklevel: int) -> None:
    """Warn, `stacklevel` calls up, where a gradient winds too much phase along an edge."""
    turn = acquisition.largest_winding
    x = mesh.vertices.detach()[mesh.tets]
    edge = float(torch.stack([(x[:, i] - x[:, j]).norm(dim=1) for i in range(4) for j in range(i)]).mean())
    if turn * edge > _RADIANS_PER_EDGE[order]:
        warnings.warn(
            f"the mesh may be too coarse for this gradient: a pulse winds {turn * edge:.2g} rad along a mean "
            f"edge of {edge:.2g} µm, expected at most {_RADIANS_PER_EDGE[order]:g} with elements of "
            f"order {order}",
            AccuracyWarning,
            stacklevel=stacklevel,
        )

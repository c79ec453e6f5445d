"""Structured meshes of simple shapes, at any resolution and without an external mesher."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import torch

from ..errors import InputError
from .layered import layered_cylinder, layered_sphere
from .tetmesh import TetMesh


def sphere(radius: float, *, resolution: int = 4) -> TetMesh:
    """Return a ball centred on the origin, with exactly the volume of the smooth ball.

    Parameters
    ----------
    radius : float
        µm.
    resolution : int
        Number n of layers between centre and surface: 1 + Σ(10k² + 2) vertices (147 for 3, 3 871 for 10, 49
        049 for 24) and 20·n³ tets; see `layered_sphere`.
    """
    _require_positive("sphere", radius=radius)
    _require_counts("sphere", resolution=resolution)
    return layered_sphere((radius,), resolution=resolution)


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
    return layered_cylinder((radius,), length, n_rings=n_rings, n_layers=n_layers)


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


def _require_positive(what: str, **values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{what}: {name} is {value}, expected a positive number of µm")


def _require_counts(what: str, **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{what}: {name} is {count}, expected at least 1")

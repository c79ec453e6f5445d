"""The unit disc as concentric rings of triangles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError


def disc(n_rings: int) -> tuple[Tensor, Tensor]:
    """Return `(points, triangles)` of a unit disc in rings of 1, 6, 12, … 6·n_rings points.

    The polygon of ring k encloses the area π(k/n_rings)², so the mesh has the area π of the disc and its
    outer points lie slightly outside the unit circle.

    Parameters
    ----------
    n_rings : int
        Number of rings around the centre point, at least 1.

    Returns
    -------
    points : (1 + 3·n_rings·(n_rings + 1), 2) float64 Tensor
        The centre first, then ring by ring, each counter-clockwise from angle 0.
    triangles : (6·n_rings², 3) int64 Tensor
        Counter-clockwise.
    """
    if n_rings < 1:
        raise InputError(f"disc: n_rings is {n_rings}, expected at least 1")
    points = torch.cat([_ring(k, n_rings) for k in range(n_rings + 1)])
    triangles = torch.cat([_triangles_between(k) for k in range(1, n_rings + 1)])
    return points, triangles


def _ring(k: int, n_rings: int) -> Tensor:
    if k == 0:
        return torch.zeros(1, 2, dtype=torch.float64)
    n = 6 * k
    radius = k / n_rings * math.sqrt(2 * math.pi / (n * math.sin(2 * math.pi / n)))
    angle = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=1)


def _triangles_between(k: int) -> Tensor:
    """Return the triangles (6·(2k − 1), 3) between rings k − 1 and k, sector by sector of 60 degrees."""

    def outer(sector: Tensor, j: Tensor) -> Tensor:
        return 1 + 3 * k * (k - 1) + (sector * k + j) % (6 * k)

    def inner(sector: Tensor, j: Tensor) -> Tensor:
        if k == 1:
            return torch.zeros_like(sector + j)
        return 1 + 3 * (k - 1) * (k - 2) + (sector * (k - 1) + j) % (6 * (k - 1))

    sector = torch.arange(6)[:, None]
    j = torch.arange(k)[None]
    outwards = torch.stack([outer(sector, j), outer(sector, j + 1), inner(sector, j)], dim=-1)
    j = torch.arange(k - 1)[None]
    inwards = torch.stack([inner(sector, j), outer(sector, j + 1), inner(sector, j + 1)], dim=-1)
    return torch.cat([outwards, inwards], dim=1).reshape(-1, 3)

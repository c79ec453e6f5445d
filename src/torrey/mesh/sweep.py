"""Tetrahedra between stacked copies of a plane triangulation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def sweep_connectivity(triangles: Tensor, n_points: int, n_layers: int) -> Tensor:
    """Return the tets that fill the prisms between n_layers + 1 stacked copies of `triangles`.

    Every prism is cut in three. The diagonal of each side face starts at the lower of its two plane indices
    on the lower copy, so the prisms on both sides of a face cut it alike.

    Parameters
    ----------
    triangles : (F, 3) int64 Tensor
        Counter-clockwise seen from the side towards which the copies are stacked.
    n_points : int
        Number of points in one copy; vertex `layer * n_points + point` of the mesh is `point` of that copy.
    n_layers : int
        Number of layers of prisms, at least 1.

    Returns
    -------
    (3·F·n_layers, 4) int64 Tensor
        Layer by layer; of positive volume for a sweep along +z.
    """
    if n_layers < 1:
        raise InputError(f"sweep: n_layers is {n_layers}, expected at least 1")
    a, b, c = triangles.sort(dim=1).values.unbind(1)
    A, B, C = a + n_points, b + n_points, c + n_points
    prism = torch.stack(
        [torch.stack(corners, dim=1) for corners in ((a, b, c, C), (a, b, C, B), (a, A, B, C))], dim=1
    )
    clockwise = _is_odd(triangles)
    prism[clockwise] = prism[clockwise][..., [1, 0, 2, 3]]
    offsets = n_points * torch.arange(n_layers, device=triangles.device)
    return (prism.reshape(1, -1, 4) + offsets[:, None, None]).reshape(-1, 4)


def _is_odd(triangles: Tensor) -> Tensor:
    """Return whether sorting each row takes an odd permutation."""
    a, b, c = triangles.unbind(1)
    return ((a > b).long() + (a > c).long() + (b > c).long()) % 2 == 1

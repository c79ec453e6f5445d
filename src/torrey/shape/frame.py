"""Rotation-minimising frames along a curve."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation_minimising_normals(points: Tensor, tangents: Tensor) -> Tensor:
    """Return unit normals (L, 3) that turn about the curve as little as possible.

    Parameters
    ----------
    points, tangents : (L, 3) Tensor
        Positions, µm, and unit tangents.

    Notes
    -----
    The double reflection method of Wang, Jüttler, Zheng and Liu, ACM Trans. Graph. 27, 2 (2008); fourth order
    in the distance of points.
    """
    normal = _any_normal(tangents[0])
    normals = [normal]
    for i in range(len(points) - 1):
        chord = points[i + 1] - points[i]
        reflected = _reflect(normal, chord)
        reflected_tangent = _reflect(tangents[i], chord)
        # a zero mirror cannot arise: both tangents point along the chord for any layer spacing that is used
        normal = _reflect(reflected, tangents[i + 1] - reflected_tangent)
        normals.append(normal)
    return torch.stack(normals)


def _reflect(vector: Tensor, mirror: Tensor) -> Tensor:
    return vector - 2 * (mirror @ vector) / (mirror @ mirror) * mirror


def _any_normal(tangent: Tensor) -> Tensor:
    """Return a unit normal, from the coordinate axis that is least along `tangent`."""
    axis = torch.nn.functional.one_hot(tangent.detach().abs().argmin(), 3).to(tangent)
    normal = axis - (axis @ tangent) * tangent
    unit: Tensor = normal / normal.norm()
    return unit

r"""Rough size and direction of a shape from its signal, to start a fit from.

A long diffusion time and a weak gradient give ln S/S(0) ≈ −(qδ)² uᵀCu with C the covariance of positions in the shape
(Gaussian phase, motional averaging). A cylinder has variances L²/12 along and r²/4 across its axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..shape.base import Extent

_TRUSTED = 0.3
"""Attenuation above which the Gaussian phase approximation is used; below, the noise and higher moments rule."""

_SMALLEST = 0.3
"""µm, of a radius; a fit recovers from a wrong size, not from none."""


def estimate_extent(attenuation: Tensor, acquisition: Acquisition, *, volume: float | None) -> Extent:
    """Return the extent of a cylinder with the position covariance that `attenuation` (N,) suggests.

    Where the `volume`, µm³, is known too, the radius follows from it and the length.
    """
    values, vectors = torch.linalg.eigh(_position_covariance(attenuation, acquisition))
    across = float(values[:2].clamp(min=0).mean())
    radius = max(_SMALLEST, 2 * math.sqrt(across))
    length = max(2 * radius, math.sqrt(12 * max(float(values[2]), 0.0)))
    if volume is not None:
        length = max(length, (4 * volume / math.pi) ** (1 / 3))
        radius = math.sqrt(volume / (math.pi * length))
    return Extent(length, radius, vectors[:, 2])


def _position_covariance(attenuation: Tensor, acquisition: Acquisition) -> Tensor:
    wound = acquisition.wave_vectors.detach() * acquisition.small_delta[:, None]
    strength = wound.norm(dim=1)
    weighted = strength > 0
    longest = acquisition.big_delta == acquisition.big_delta[weighted].max()
    usable = weighted & longest & (attenuation > _TRUSTED)
    if int(usable.sum()) < 6:
        # too strongly weighted throughout: the six weakest measurements still order the directions
        usable = torch.zeros_like(weighted)
        usable[torch.where(weighted, strength, math.inf).argsort()[:6]] = True
    x, y, z = wound[usable].unbind(1)
    design = torch.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], dim=1)
    level = attenuation[usable].clamp(min=1e-3)
    # rows weighted by the signal: the variance of its logarithm is that of the noise over its square
    solution = torch.linalg.lstsq(design * level[:, None], (-level.log() * level)[:, None], driver="gelsd").solution
    xx, yy, zz, xy, xz, yz = solution[:, 0]
    return torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz]).view(3, 3)

"""Fractional anisotropy: how far a diffusion tensor is from a sphere, from 0 to 1."""

from __future__ import annotations

import torch
from torch import Tensor


def fractional_anisotropy(tensors: Tensor) -> Tensor:
    """Return √(3/2) ‖D − MD‖ / ‖D‖ (...) of tensors (..., 6): xx, xy, xz, yy, yz, zz.

    It is 0, with derivative zero, where D is isotropic or zero (Basser and Pierpaoli, J. Magn. Reson. B 111,
    209, 1996).
    """
    xx, xy, xz, yy, yz, zz = tensors.unbind(-1)
    mean = (xx + yy + zz) / 3
    off = 2 * (xy**2 + xz**2 + yz**2)
    total = xx**2 + yy**2 + zz**2 + off
    spread = (xx - mean) ** 2 + (yy - mean) ** 2 + (zz - mean) ** 2 + off
    # a ratio of squares below rounding has a root whose slope is noise
    usable = spread > 1e-30 * total
    ratio = torch.where(usable, spread, 1.0) / torch.where(usable, total, 1.0)
    return torch.where(usable, (1.5 * ratio).sqrt(), 0.0)

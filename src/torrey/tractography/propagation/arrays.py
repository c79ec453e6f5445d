"""What the compiled kernels take, from PyTorch's fields and regions."""

from __future__ import annotations

import numpy as np
import torch

from ..meridians import elevation_table
from . import compiled
from .limits import Limits
from .sd_stream import PeakRule


def polynomial_image(rule: PeakRule) -> compiled.PolynomialImage:
    """Return the image that `rule` follows; it shares memory where it can."""
    return compiled.PolynomialImage(
        values=rule.image.detach().contiguous().numpy(),
        occupied=rule.support.flat.to(torch.uint8).numpy(),
        shape=np.array(rule.grid.shape),
        world_to_voxel=rule.grid.world_to_voxel[:3].contiguous().numpy(),
        degree=rule.degree,
        elevations=elevation_table(rule.degree, rule.ascent.elevations).to(rule.image.dtype).numpy(),
    )


def regions_of(limits: Limits) -> compiled.Regions:
    """Return the mask and the regions to enter and to avoid."""
    regions = [(compiled.INCLUDE, region) for region in limits.include]
    regions += [(compiled.EXCLUDE, region) for region in limits.exclude]
    regions += [] if limits.mask is None else [(compiled.MASK, limits.mask)]
    return compiled.lay_regions(
        [(kind, region.image.numpy(), region.grid.world_to_voxel[:3].numpy()) for kind, region in regions]
    )

"""Checks of what streamlines start from."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InputError
from ..fields import DiffusionField, SHField
from ..seeds import require_inside


def checked_seeds(field: SHField | DiffusionField, seeds: Tensor) -> Tensor:
    """Return `seeds` (S, 3), or raise `InputError`: another shape or device, or one outside the image."""
    if seeds.dim() != 2 or seeds.shape[1] != 3:
        raise InputError(f"seeds have shape {tuple(seeds.shape)}; expected (S, 3)")
    require_inside(seeds, field.grid)
    if seeds.device != field.device:
        raise InputError(f"seeds are on {seeds.device}; expected them on {field.device}, as the field")
    return seeds


def checked_directions(directions: Tensor | None, seeds: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return unit vectors (S, 3) along `directions`, at random if not given, or raise `InputError`."""
    if directions is None:
        generator = generator or torch.Generator().manual_seed(0)
        directions = torch.randn(
            seeds.shape, generator=generator, device=generator.device, dtype=torch.float64
        )
    directions = directions.detach().to(seeds.device)
    if directions.shape not in {seeds.shape, (3,)}:
        shapes = f"{tuple(directions.shape)}; expected {tuple(seeds.shape)} or (3,)"
        raise InputError(f"directions have shape {shapes}")
    directions = directions.expand(seeds.shape)
    lengths = directions.norm(dim=1)
    wrong = ~((lengths > 0) & lengths.isfinite())
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0, 0])
        raise InputError(f"direction {index} is {directions[index].tolist()}; expected finite and not zero")
    towards: Tensor = directions / lengths[:, None]
    return towards

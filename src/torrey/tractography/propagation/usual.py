"""The algorithm that goes with a field."""

from __future__ import annotations

from ..fields import DiffusionField, SHField
from .rules import Algorithm
from .sd_stream import SDStream
from .tensor_det import TensorDet


def usual_algorithm(field: SHField | DiffusionField) -> Algorithm:
    """Return `TensorDet` for diffusion images and `SDStream` for orientation distributions."""
    return TensorDet() if isinstance(field, DiffusionField) else SDStream()

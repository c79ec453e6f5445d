"""Streamlines that follow a field, with gradients."""

from .propagate import propagate
from .sd_stream import SDStream
from .stepping import Euler, RungeKutta
from .survival import end_chances, expected_lengths, survival
from .tensor_det import TensorDet

__all__ = [
    "Euler",
    "RungeKutta",
    "SDStream",
    "TensorDet",
    "end_chances",
    "expected_lengths",
    "propagate",
    "survival",
]

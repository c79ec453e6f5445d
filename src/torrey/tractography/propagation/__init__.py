"""Streamlines that follow a field, with gradients."""

from .propagate import propagate
from .sd_stream import SDStream
from .stepping import Euler, RungeKutta
from .tensor_det import TensorDet

__all__ = ["Euler", "RungeKutta", "SDStream", "TensorDet", "propagate"]

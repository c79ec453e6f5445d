"""Streamlines that follow a field, with gradients."""

from .dipy import track_dipy
from .eudx import EuDX
from .maximum_direction import MaximumDirection, SoftMaximumDirection
from .propagate import propagate
from .sd_stream import SDStream
from .stepping import Euler, RungeKutta
from .stopping import BinaryStopping, ThresholdStopping
from .tensor_det import TensorDet

__all__ = [
    "BinaryStopping",
    "EuDX",
    "Euler",
    "MaximumDirection",
    "RungeKutta",
    "SDStream",
    "SoftMaximumDirection",
    "TensorDet",
    "ThresholdStopping",
    "propagate",
    "track_dipy",
]

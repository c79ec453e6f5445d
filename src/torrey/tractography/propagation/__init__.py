"""Streamlines that follow a field, with gradients."""

from .dipy import (
    BinaryStopping,
    EuDX,
    MaximumDirection,
    SoftMaximumDirection,
    ThresholdStopping,
    track_dipy,
)
from .propagate import propagate
from .sd_stream import SDStream
from .stepping import Euler, RungeKutta
from .survival import end_chances, expected_lengths, survival
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
    "end_chances",
    "expected_lengths",
    "propagate",
    "survival",
    "track_dipy",
]

"""Streamlines that follow a field, with gradients."""

from .dipy import (
    BinaryStopping,
    EuDX,
    MaximumDirection,
    SoftMaximumDirection,
    ThresholdStopping,
    track_dipy,
)
from .ifod1 import IFOD1, sample_streamlines
from .propagate import propagate
from .sd_stream import SDStream
from .stepping import Euler, RungeKutta
from .survival import end_chances, expected_lengths, survival
from .tensor_det import TensorDet

__all__ = [
    "IFOD1",
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
    "sample_streamlines",
    "survival",
    "track_dipy",
]

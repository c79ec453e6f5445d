"""Streamlines by DIPY's rules."""

from .eudx import EuDX
from .maximum_direction import MaximumDirection, SoftMaximumDirection
from .stopping import BinaryStopping, ThresholdStopping
from .track import track_dipy

__all__ = [
    "BinaryStopping",
    "EuDX",
    "MaximumDirection",
    "SoftMaximumDirection",
    "ThresholdStopping",
    "track_dipy",
]

"""Streamlines through fields: rules that read directions, and drivers that follow them."""

from .dipy import track_dipy
from .eudx import EuDX
from .maximum_direction import MaximumDirection, SoftMaximumDirection
from .stopping import BinaryStopping, ThresholdStopping

__all__ = [
    "BinaryStopping",
    "EuDX",
    "MaximumDirection",
    "SoftMaximumDirection",
    "ThresholdStopping",
    "track_dipy",
]

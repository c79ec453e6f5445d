"""From diffusion images to a connectome: orientations, streamlines and the edges that they make.

Positions are in mm, world RAS+; images carry the affine that takes voxel indices (centres at integers) there.
"""

from . import orientation
from .connectomics import connectome, soft_connectome
from .density import track_counts, track_density, track_lengths
from .fields import DiffusionField, PeakField, SHField
from .files import read_tractogram, write_tractogram
from .grid import Grid
from .harmonics import degree_of, harmonics, n_coefficients
from .propagation import (
    IFOD1,
    BinaryStopping,
    EuDX,
    Euler,
    MaximumDirection,
    RungeKutta,
    SDStream,
    SoftMaximumDirection,
    TensorDet,
    ThresholdStopping,
    end_chances,
    expected_lengths,
    propagate,
    sample_streamlines,
    survival,
    track_dipy,
)
from .regions import Region
from .seeds import grid_seeds, random_seeds, random_seeds_per_voxel, read_seeds
from .streamlines import Streamlines
from .weights import fit_weights

__all__ = [
    "IFOD1",
    "BinaryStopping",
    "DiffusionField",
    "EuDX",
    "Euler",
    "Grid",
    "MaximumDirection",
    "PeakField",
    "Region",
    "RungeKutta",
    "SDStream",
    "SHField",
    "SoftMaximumDirection",
    "Streamlines",
    "TensorDet",
    "ThresholdStopping",
    "connectome",
    "degree_of",
    "end_chances",
    "expected_lengths",
    "fit_weights",
    "grid_seeds",
    "harmonics",
    "n_coefficients",
    "orientation",
    "propagate",
    "random_seeds",
    "random_seeds_per_voxel",
    "read_seeds",
    "read_tractogram",
    "sample_streamlines",
    "soft_connectome",
    "survival",
    "track_counts",
    "track_density",
    "track_dipy",
    "track_lengths",
    "write_tractogram",
]

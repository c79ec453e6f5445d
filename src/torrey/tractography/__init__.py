"""From diffusion images to a connectome: orientations, streamlines and the edges that they make.

Positions are in mm, world RAS+; images carry the affine that takes voxel indices (centres at integers) there.
"""

from .fields import DiffusionField, SHField
from .grid import Grid
from .harmonics import degree_of, harmonics, n_coefficients
from .propagation import Euler, RungeKutta, SDStream, TensorDet, propagate
from .regions import Region
from .streamlines import Streamlines

__all__ = [
    "DiffusionField",
    "Euler",
    "Grid",
    "Region",
    "RungeKutta",
    "SDStream",
    "SHField",
    "Streamlines",
    "TensorDet",
    "degree_of",
    "harmonics",
    "n_coefficients",
    "propagate",
]

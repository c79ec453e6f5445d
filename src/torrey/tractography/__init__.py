"""From diffusion images to a connectome: orientations, streamlines and the edges that they make.

Positions are in mm, world RAS+; images carry the affine that takes voxel indices (centres at integers) there.
"""

from .grid import Grid
from .harmonics import degree_of, harmonics, n_coefficients
from .streamlines import Streamlines

__all__ = ["Grid", "Streamlines", "degree_of", "harmonics", "n_coefficients"]

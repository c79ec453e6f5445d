"""From diffusion images to fibre orientations: gradient tables, tensors, responses and deconvolution."""

from .deconvolution import deconvolve
from .directions import constraint_directions, read_directions, spiral_directions, write_directions
from .gradient_files import read_fsl_gradients, read_mrtrix_gradients
from .gradient_table import GradientTable
from .harmonic_bases import convert_harmonics, rotate_harmonics, to_voxel_axes, to_world_axes
from .image import read_harmonics, read_image, read_labels, read_mask, read_region, write_image
from .response import read_response, write_response
from .response_estimate import HighestAnisotropy, ResponseEstimate, SinglePeak, estimate_response
from .response_fit import fit_response
from .tensor_fit import fit_tensor
from .tensors import Tensors

__all__ = [
    "GradientTable",
    "HighestAnisotropy",
    "ResponseEstimate",
    "SinglePeak",
    "Tensors",
    "constraint_directions",
    "convert_harmonics",
    "deconvolve",
    "estimate_response",
    "fit_response",
    "fit_tensor",
    "read_directions",
    "read_fsl_gradients",
    "read_harmonics",
    "read_image",
    "read_labels",
    "read_mask",
    "read_mrtrix_gradients",
    "read_region",
    "read_response",
    "rotate_harmonics",
    "spiral_directions",
    "to_voxel_axes",
    "to_world_axes",
    "write_directions",
    "write_image",
    "write_response",
]

"""Peak-following streamlines and their adjoint, compiled for the machine's cores."""

from .adjoint import Gradients, pull_back
from .grow import Grown, Settings, grow
from .image import PolynomialImage
from .regions import EXCLUDE, INCLUDE, MASK, Regions, lay_regions
from .unrolled import MAX_DEGREE

__all__ = [
    "EXCLUDE",
    "INCLUDE",
    "MASK",
    "MAX_DEGREE",
    "Gradients",
    "Grown",
    "PolynomialImage",
    "Regions",
    "Settings",
    "grow",
    "lay_regions",
    "pull_back",
]

"""Peak-following streamlines and their adjoint, and drawn ones, compiled for the machine's cores."""

from .adjoint import Gradients, pull_back
from .draw import Drawing, cone_of, grow_drawn
from .grow import Grown, Settings, grow
from .image import PolynomialImage
from .regions import EXCLUDE, INCLUDE, MASK, Regions, lay_regions
from .unrolled import MAX_DEGREE

__all__ = [
    "EXCLUDE",
    "INCLUDE",
    "MASK",
    "MAX_DEGREE",
    "Drawing",
    "Gradients",
    "Grown",
    "PolynomialImage",
    "Regions",
    "Settings",
    "cone_of",
    "grow",
    "grow_drawn",
    "lay_regions",
    "pull_back",
]

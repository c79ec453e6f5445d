"""Images that streamlines follow."""

from .diffusion_field import DiffusionField
from .peak_field import PeakField
from .sh_field import SHField

__all__ = ["DiffusionField", "PeakField", "SHField"]

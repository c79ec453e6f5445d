"""Images that streamlines follow."""

from .diffusion_field import DiffusionField
from .sh_field import SHField

__all__ = ["DiffusionField", "SHField"]

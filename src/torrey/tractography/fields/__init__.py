"""Images that streamlines follow."""

from .peak_field import PeakField
from .sh_field import SHField

__all__ = ["PeakField", "SHField"]

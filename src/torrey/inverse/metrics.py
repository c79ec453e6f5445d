"""How near two shapes are: Chamfer distances d and d′ (µm), volume overlap, and the baseline to beat."""

from .chamfer import chamfer, chamfer_up_to_inversion, chamfer_up_to_symmetry
from .equal_cylinder import cylinder_of_equal_volume
from .overlap import dice, volume_overlap

__all__ = [
    "chamfer",
    "chamfer_up_to_inversion",
    "chamfer_up_to_symmetry",
    "cylinder_of_equal_volume",
    "dice",
    "volume_overlap",
]

"""Exact attenuations of PGSE with finite pulses in a slab, a cylinder and a sphere."""

from .domains import Cylinder as Cylinder
from .domains import Slab as Slab
from .domains import Sphere as Sphere

"""Exact signals of PGSE with finite pulses in a slab, a cylinder and a sphere, and in concentric layers."""

from .domains import Cylinder as Cylinder
from .domains import Slab as Slab
from .domains import Sphere as Sphere
from .layered import LayeredCylinder as LayeredCylinder
from .layered import LayeredSphere as LayeredSphere

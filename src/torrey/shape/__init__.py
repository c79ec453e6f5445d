"""Shape models: from a latent vector to the vertices of a mesh, differentiable. Lengths in µm."""

from .base import AbstractShape as AbstractShape
from .base import Extent as Extent
from .posed import Posed as Posed
from .straight_cylinder import StraightCylinder as StraightCylinder
from .tube import Tube as Tube
from .vertices import Vertices as Vertices

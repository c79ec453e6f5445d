"""Families of axons: deformed, scaled and turned prisms, each a pure function of family, seed and index."""

from .base import SPLITS as SPLITS
from .base import AbstractFamily as AbstractFamily
from .base import Split as Split
from .deformed import AbstractDeformed as AbstractDeformed
from .deformed import Beads as Beads
from .deformed import BendTwist as BendTwist
from .deformed import Fans as Fans
from .draws import Draws as Draws
from .mixed import Mixed as Mixed
from .mixed import family_named as family_named
from .pose import axis_rotations as axis_rotations
from .sample import ShapeSample as ShapeSample

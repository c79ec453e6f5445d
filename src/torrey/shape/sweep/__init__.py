"""`Sweep`, the learned model of axons: channels along the axis, a linear map to them, and its training."""

from .sweep import Sweep as Sweep
from .training import round_trip_errors as round_trip_errors
from .training import train_sweep as train_sweep

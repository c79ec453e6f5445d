"""`Sweep`, the learned model of axons: channels along the axis, their linear map from latents, and training."""

from .sweep import Sweep as Sweep
from .training import round_trip_error as round_trip_error
from .training import train_sweep as train_sweep

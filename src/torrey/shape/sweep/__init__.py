"""`Sweep`, the learned model of axons: channels along the axis, and a linear map to them."""

from .sweep import Sweep as Sweep

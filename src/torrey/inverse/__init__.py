"""From a measured signal back to a shape, and how far the data determine it."""

from . import metrics as metrics
from .adam import Adam as Adam
from .levenberg_marquardt import LevenbergMarquardt as LevenbergMarquardt
from .reconstruct import reconstruct as reconstruct
from .result import Iteration as Iteration
from .result import Posterior as Posterior
from .result import Reconstruction as Reconstruction

"""Directions spread evenly over half a sphere, to which discrete trackers keep."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@cache
def default_hemisphere() -> Tensor:
    """Return the 362 unit vectors (362, 3) that DIPY tracks on unless told otherwise, 7° apart, bit for bit.

    They come with their licence, `repulsion362.LICENSE.txt`.
    """
    return torch.from_numpy(np.load(Path(__file__).with_name("repulsion362.npy")))

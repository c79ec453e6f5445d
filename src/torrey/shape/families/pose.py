"""The poses in which shapes of a family occur."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor


def axis_rotations() -> Tensor:
    """Return the rotations (12, 3, 3) of a tetrahedron, the identity first.

    Cyclic permutations of the axes with an even number of signs turned. They carry each axis onto
    each axis in both senses, twice.
    """
    eye = torch.eye(3, dtype=torch.float64)
    permutations = [eye, eye.roll(1, dims=0), eye.roll(2, dims=0)]
    signs = [torch.tensor(s, dtype=torch.float64) for s in product((1, -1), repeat=3) if s.count(-1) % 2 == 0]
    return torch.stack([sign[:, None] * axes for axes in permutations for sign in signs])

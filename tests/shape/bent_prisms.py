"""A small template and shapes of it, for tests of learned shapes."""

import torch

from torrey.mesh import prism
from torrey.shape.families import BendTwist

TEMPLATE = prism(n_layers=4)


def bent(count, *, first=0):
    family = BendTwist()
    return torch.stack([family.sample(first + i, template=TEMPLATE).canonical for i in range(count)])

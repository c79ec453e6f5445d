"""Small shapes for the tests of this folder, made without the code under test."""

import itertools
from pathlib import Path

import numpy as np
import torch

SPINDOCTOR_MESHES = dict(np.load(Path(__file__).parent / "data" / "spindoctor_meshes.npz"))
"""Meshes that SpinDoctor made with TetGen; see data/README.md."""

REGULAR = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
"""A regular tet with edges 2√2."""


def cube_arrays(n=1, *, size=3.0):
    """Return vertices and tets of a cube from 0 to `size` of n³ cells, six tets each."""
    points = torch.tensor(list(itertools.product(range(n + 1), repeat=3)), dtype=torch.float64) * (size / n)
    index = {corner: i for i, corner in enumerate(itertools.product(range(n + 1), repeat=3))}
    tets = []
    for cell in itertools.product(range(n), repeat=3):
        for order in itertools.permutations(range(3)):
            corner, path = list(cell), [index[cell]]
            for axis in order:
                corner[axis] += 1
                path.append(index[tuple(corner)])
            even = order in [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
            tets.append(path if even else [path[1], path[0], *path[2:]])
    return points, torch.tensor(tets)

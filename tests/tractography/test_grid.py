"""The voxel of a point: halves away from zero, and nothing but halves."""

import math

import pytest
import torch

from torrey.tractography import Grid


@pytest.mark.parametrize(
    ("x", "index"),
    [(0.5, 1), (math.nextafter(0.5, 0), 0), (-0.5, -1), (math.nextafter(-0.5, 0), 0), (2.5, -1), (2.4, 2)],
)
def test_halves_round_away_from_zero(x, index):
    grid = Grid((3, 1, 1), torch.eye(4))
    assert int(grid.voxel_of(torch.tensor([x, 0, 0], dtype=torch.float64))) == index

"""Signals that cost nothing, for data sets whose workers must be able to import them."""

import sys
import time
import warnings
from pathlib import Path

import torch

from torrey.errors import AccuracyWarning
from torrey.shape import make_dataset
from torrey.shape.families import Fans

SPREAD = [*range(5), 255, 256, 257, *range(700, 720), 1024, 1025, 35_000]
"""Indices in six shards."""


def moments(sample):
    """Return the second moments (6,) of the vertices."""
    rows, columns = torch.triu_indices(3, 3)
    return (sample.vertices.T @ sample.vertices)[rows, columns]


def slow_moments(sample):
    """Return the same, late."""
    time.sleep(0.1)
    return moments(sample)


def coarse(sample):
    """Warn, but of odd shapes only."""
    if sample.index % 2:
        warnings.warn(f"shape {sample.index} is coarse", AccuracyWarning, stacklevel=2)
    return moments(sample)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    make_dataset(folder, Fans(), indices=SPREAD, seed=2, signals=slow_moments, settings={"of": "moments"})

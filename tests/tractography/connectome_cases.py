"""The streamlines and parcellations that `tck2connectome` was run on; see data/README.md."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from torrey.tractography import Streamlines

ORACLE = Path(__file__).parent / "data" / "tck2connectome.npz"


class Case(NamedTuple):
    tracks: Streamlines
    labels: torch.Tensor
    affine: torch.Tensor


@cache
def oracle():
    with np.load(ORACLE) as archive:
        return dict(archive)


def case(name, dtype=torch.float32):
    data = oracle()
    offsets = np.concatenate([[0], data[f"{name}_n_points"].astype(int).cumsum()])
    points = torch.from_numpy(data[f"{name}_points"]).to(dtype)
    tracks = Streamlines(points, torch.from_numpy(offsets))
    return Case(tracks, torch.from_numpy(data[f"{name}_labels"]), torch.from_numpy(data[f"{name}_affine"]))

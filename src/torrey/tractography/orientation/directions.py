"""Sets of directions: on a spiral, of MRtrix, and in its text files."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from ...errors import FileError
from ...text_files import PathLike
from .gradient_files import read_rows


def spiral_directions(n_directions: int) -> Tensor:
    """Return (n, 3) unit vectors spread over the half sphere z > 0 on a spiral of golden angles.

    Equal areas by Archimedes' theorem; González, Math. Geosci. 42, 49 (2010).
    """
    i = torch.arange(n_directions, dtype=torch.float64)
    z = (i + 0.5) / n_directions
    azimuth, radius = i * math.pi * (3 - math.sqrt(5)), (1 - z**2).sqrt()
    return torch.stack((radius * azimuth.cos(), radius * azimuth.sin(), z), 1)


@cache
def constraint_directions() -> Tensor:
    """Return the 300 unit vectors (300, 3) at which `dwi2fod` keeps an FOD from being negative.

    They come with their licence, `electrostatic300.LICENSE.txt`.
    """
    return read_directions(Path(__file__).with_name("electrostatic300.txt"))


def read_directions(path: PathLike) -> Tensor:
    """Read directions as MRtrix's programs take them: rows of azimuth and elevation from z (rad), or x y z.

    Raises
    ------
    FileError
        When the file is missing or holds something else.
    """
    rows = read_rows(path, "direction")
    if {len(row) for row in rows} not in ({2}, {3}):
        raise FileError(f"{path}: expected 2 values in every row (azimuth, elevation) or 3 (x y z)")
    table = torch.stack(rows)
    if table.shape[1] == 2:
        azimuth, elevation = table.unbind(1)
        sine = elevation.sin()
        return torch.stack((sine * azimuth.cos(), sine * azimuth.sin(), elevation.cos()), 1)
    lengths = table.norm(dim=1, keepdim=True)
    if bool((lengths == 0).any()):
        raise FileError(f"{path}: row {int((lengths == 0).nonzero()[0, 0]) + 1}: a direction of length 0")
    unit: Tensor = table / lengths
    return unit


def write_directions(path: PathLike, directions: Tensor) -> None:
    """Write unit vectors (n, 3) as rows of azimuth and elevation, for `dwi2fod -directions`."""
    x, y, z = directions.unbind(1)
    rows = torch.stack((torch.atan2(y, x), torch.atan2(torch.hypot(x, y), z)), 1)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{azimuth:.17g} {elevation:.17g}\n" for azimuth, elevation in rows.tolist())

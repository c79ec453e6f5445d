"""Where streamlines begin: on a lattice in the voxels of a mask, at random, or at given points.

Order and meaning are those of `tckgen`: voxels are visited with the axes turned and mirrored to run to the
right, forward and up as nearly as they can, the last axis first; so are the points within one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nibabel.orientations
import numpy as np
import torch
from torch import Tensor

from ..errors import FileError, InputError
from .grid import Grid

PathLike = str | os.PathLike[str]


def grid_seeds(mask: Tensor, grid: Grid, n: int) -> Tensor:
    """Return n³ seeds in each voxel of a mask, at offsets (i + ½)/n − ½ along each axis.

    Parameters
    ----------
    mask : (X, Y, Z) Tensor
        Voxels that are not zero get seeds.
    grid : Grid
        Where the mask lies.
    n : int
        Seeds along each axis of a voxel.

    Returns
    -------
    (S, 3) Tensor
        Seeds in mm, those of `tckgen -seed_grid_per_voxel mask n` in the same order. MRtrix 3.0.3 leaves out
        the first voxel of the image, in its corner, where that is in the mask; here it gets seeds.

    Raises
    ------
    InputError
        When the mask is empty or not of the grid's shape, or n < 1.
    """
    mask, grid = _checked(mask, grid, n)
    along = (torch.arange(n, dtype=torch.float64, device=mask.device) + 0.5) / n - 0.5
    within = torch.cartesian_prod(along, along, along)
    return grid.to_world((mask.nonzero()[:, None] + within).reshape(-1, 3))


def random_seeds_per_voxel(mask: Tensor, grid: Grid, n: int, *, generator: torch.Generator) -> Tensor:
    """Return `n` seeds (S, 3) in mm, uniform in each voxel of a mask (`tckgen -seed_random_per_voxel`)."""
    mask, grid = _checked(mask, grid, n)
    return _uniform_in(mask.nonzero().repeat_interleave(n, dim=0), grid, generator)


def random_seeds(mask: Tensor, grid: Grid, n: int, *, generator: torch.Generator) -> Tensor:
    """Return `n` seeds (n, 3) in mm, uniform in all of a mask (`tckgen -seed_image`)."""
    mask, grid = _checked(mask, grid, n)
    voxels = mask.nonzero()
    chosen = torch.randint(len(voxels), (n,), generator=generator, device=generator.device)
    return _uniform_in(voxels[chosen.to(voxels.device)], grid, generator)


def read_seeds(path: PathLike) -> Tensor:
    """Return the seeds (S, 3) in a file, mm, world RAS+.

    A `.npy` file holds an array (S, 3). Any other is text with x y z on a line, between spaces or commas, or
    what `tckgen -output_seeds` writes, whose comment says that indices of track and seed come first.

    Raises
    ------
    FileError
        When the file is missing or unreadable, holds no seeds, or a line has other than three finite numbers.
    """
    path = Path(path)
    is_array = path.suffix.lower() == ".npy"
    try:
        content = np.load(path, allow_pickle=False) if is_array else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, EOFError) as error:  # UnicodeDecodeError is a ValueError
        raise FileError(f"{path}: expected {'an array of numbers' if is_array else 'text'}") from error
    return _parse(path, content) if isinstance(content, str) else _checked_array(path, content)


def require_inside(seeds: Tensor, grid: Grid) -> None:
    """Raise an `InputError` where a seed (S, 3), in mm, is outside the image."""
    seeds = seeds.detach().double()
    outside = (grid.voxel_of(seeds) < 0).nonzero()[:, 0]
    if len(outside):
        first = int(outside[0])
        place = ", ".join(f"{x:g}" for x in seeds[first].tolist())
        voxel = " ".join(f"{i:.1f}" for i in grid.to_voxels(seeds[first]).tolist())
        raise InputError(
            f"seed {first} at ({place}) mm is outside the image, in voxel {voxel} of "
            f"{'×'.join(map(str, grid.shape))}, as {len(outside)} of {len(seeds)} are; expected world RAS+"
        )


def _checked(mask: Tensor, grid: Grid, n: int) -> tuple[Tensor, Grid]:
    """Return mask and grid with axes as near to right, forward and up as turns and mirrors bring them."""
    if n < 1:
        raise InputError(f"number of seeds is {n}; expected at least 1")
    if tuple(mask.shape) != grid.shape:
        raise InputError(f"mask has shape {tuple(mask.shape)}; expected {grid.shape}, that of the grid")
    if not bool((mask != 0).any()):
        raise InputError("mask has no voxel that is not zero; expected some to put seeds in")
    axes = nibabel.orientations.io_orientation(grid.affine.cpu().numpy())
    order = np.argsort(axes[:, 0]).tolist()
    mirrored = [k for k, axis in enumerate(order) if axes[axis, 1] < 0]
    turned = mask.permute(order).flip(mirrored)
    back = torch.as_tensor(nibabel.orientations.inv_ornt_aff(axes, grid.shape)).to(grid.affine)
    return turned, Grid((turned.shape[0], turned.shape[1], turned.shape[2]), grid.affine @ back)


def _uniform_in(voxels: Tensor, grid: Grid, generator: torch.Generator) -> Tensor:
    within = torch.rand(len(voxels), 3, dtype=torch.float64, generator=generator, device=generator.device)
    return grid.to_world(voxels + within.to(voxels.device) - 0.5)


def _parse(path: Path, text: str) -> Tensor:
    rows: list[list[float]] = []
    n_before = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            names = line.strip("# ,").split(",")
            n_before = names.index("Pos_x") if "Pos_x" in names else n_before
            continue
        words = re.split(r"[,\s]+", line.strip(" \t,")) if line.strip(" \t,") else []
        if not words:
            continue
        if len(words) != n_before + 3:
            raise FileError(f"{path}: line {number}: {len(words)} values; expected {n_before + 3}")
        try:
            rows.append([float(word) for word in words[n_before:]])
        except ValueError as error:
            raise FileError(f"{path}: line {number}: {line[:40]!r}; expected numbers x y z in mm") from error
        if not np.isfinite(rows[-1]).all():
            raise FileError(f"{path}: line {number}: {line[:40]!r}; expected finite numbers")
    if not rows:
        raise FileError(f"{path}: holds no seeds; expected lines of x y z in mm")
    return torch.tensor(rows, dtype=torch.float64)


def _checked_array(path: Path, array: np.ndarray) -> Tensor:
    if array.ndim != 2 or array.shape[1] != 3 or not len(array) or array.dtype.kind not in "fiu":
        raise FileError(
            f"{path}: array of shape {array.shape}, {array.dtype}; expected numbers of shape (S, 3)"
        )
    wrong = np.flatnonzero(~np.isfinite(array).all(1))
    if len(wrong):
        raise FileError(f"{path}: seed {wrong[0]} is {array[wrong[0]].tolist()}; expected finite numbers")
    return torch.as_tensor(array.astype(np.float64))

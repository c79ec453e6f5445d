"""NIfTI images, read with the grid they lie on and checked for what they are to be used as."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor

from ...errors import FileError, InputError
from ...replace import replaced_when_written
from ...text_files import PathLike, naming
from ..grid import Grid
from ..harmonics import degree_of
from ..regions import Region

SUFFIXES = (".nii", ".nii.gz")


def read_image(path: PathLike, *, n_dimensions: int) -> tuple[Tensor, Grid]:
    """Read a NIfTI image of 3 or 4 dimensions.

    Parameters
    ----------
    path : path
        .nii or .nii.gz.
    n_dimensions : int
        Dimensions the image must have; trailing ones of length 1 beyond it are dropped.

    Returns
    -------
    data : (X, Y, Z) or (X, Y, Z, N) Tensor of float64
        Values, scaled as the header says; they may hold NaN.
    grid : Grid

    Raises
    ------
    FileError
        When the file is missing, cut short or no NIfTI image, has another number of dimensions, is complex,
        or says nowhere where it lies (neither qform nor sform).
    """
    image = _load(path)
    shape = image.shape
    while len(shape) > n_dimensions and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != n_dimensions:
        sizes = "×".join(str(n) for n in image.shape)
        raise FileError(f"{path}: has {len(shape)} dimensions ({sizes}); expected {n_dimensions}")
    if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
        raise FileError(f"{path}: has no affine (neither qform nor sform); expected one from voxels to mm")
    if image.get_data_dtype().kind not in "iuf":
        raise FileError(f"{path}: holds {image.get_data_dtype()}; expected real numbers")
    try:
        values = np.asarray(image.dataobj, dtype=np.float64)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FileError(f"{path}: is cut short or damaged; its header tells of {image.shape}") from error
    with naming(path):
        grid = Grid(shape[:3], torch.from_numpy(image.affine.astype(np.float64)))
    return torch.from_numpy(values.reshape(shape)), grid


def read_region(path: PathLike) -> Region:
    """Read the voxels, on a grid of their own, where an image is not zero.

    Raises
    ------
    FileError
        When the image is wrong, or is zero everywhere.
    """
    values, grid = read_image(path, n_dimensions=3)
    inside = (values != 0) & values.isfinite()
    if not bool(inside.any()):
        raise FileError(f"{path}: is zero everywhere; expected a mask of some voxels")
    return Region(inside, grid.affine)


def read_mask(path: PathLike, grid: Grid) -> Tensor:
    """Read the voxels (X, Y, Z), bool, where an image on `grid` is not zero.

    Raises
    ------
    FileError
        When the image is wrong, lies on another grid, or is zero everywhere.
    """
    region = read_region(path)
    if not region.grid.matches(grid):
        raise FileError(
            f"{path}: lies on another grid {region.grid.shape}; expected that of the image {grid.shape}"
        )
    return region.image


def read_labels(path: PathLike) -> tuple[Tensor, Grid]:
    """Read an image of labels (X, Y, Z), int64.

    Raises
    ------
    FileError
        When the image is wrong, or a value is no whole number from 0.
    """
    values, grid = read_image(path, n_dimensions=3)
    wrong = ~((values >= 0) & (values == values.round()))
    if bool(wrong.any()):
        voxel = tuple(wrong.nonzero()[0].tolist())
        raise FileError(f"{path}: voxel {voxel} is {float(values[voxel]):g}; expected whole numbers from 0")
    return values.long(), grid


def read_harmonics(path: PathLike) -> tuple[Tensor, Grid]:
    """Read coefficients (X, Y, Z, n) of even spherical harmonics.

    Raises
    ------
    FileError
        When the image is wrong, or no even degree has that many coefficients.
    """
    coefficients, grid = read_image(path, n_dimensions=4)
    with naming(path):
        degree_of(coefficients.shape[3])
    return coefficients, grid


def write_image(path: PathLike, data: Tensor, grid: Grid) -> None:
    """Write a NIfTI image; floating-point values as float32, whole numbers and masks as int32 and uint8.

    It is written beside its place, then renamed, so that no reader sees half of it.

    Raises
    ------
    InputError
        When `data` does not lie on `grid`.
    FileError
        When the suffix is not .nii or .nii.gz, or the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise FileError(f"{path}: unknown kind of image; expected {' or '.join(SUFFIXES)}")
    if tuple(data.shape[:3]) != grid.shape:
        raise InputError(f"data have shape {tuple(data.shape)}; expected voxels {grid.shape}")
    dtype = np.float32 if data.is_floating_point() else np.uint8 if data.dtype == torch.bool else np.int32
    image = nibabel.Nifti1Image(data.detach().cpu().numpy().astype(dtype), grid.affine.numpy())
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    with replaced_when_written(path) as beside:
        nibabel.save(image, beside)


def _load(path: PathLike) -> Any:
    if Path(path).is_dir():
        raise FileError(f"{path}: is a folder; expected an image")
    try:
        image = nibabel.load(path)
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise FileError(f"{path}: is no NIfTI image") from error
    if not isinstance(image, nibabel.Nifti1Image):
        raise FileError(f"{path}: is no NIfTI image but a {type(image).__name__}")
    return image

"""Gradient tables from files: FSL's `bval` and `bvec`, and MRtrix's `.b`."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import FileError
from ...text_files import PathLike, naming, number, read_text
from ..grid import Grid
from .gradient_table import GradientTable


def read_fsl_gradients(bvals_path: PathLike, bvecs_path: PathLike, *, grid: Grid) -> GradientTable:
    """Read FSL's pair of text files, bvecs 3×N or N×3, and turn the directions to world axes.

    FSL's directions are along the axes of the image, with the first negated where the affine has a positive
    determinant; they are taken to the world by the affine with its columns at unit length.

    Parameters
    ----------
    bvals_path, bvecs_path : path
        Text files; s/mm² and unit vectors.
    grid : Grid
        Of the image that the files belong to.

    Raises
    ------
    FileError
        When a file is missing, holds something else, or the two do not fit each other.
    """
    bvals = torch.cat(read_rows(bvals_path, "bval"))
    rows = read_rows(bvecs_path, "bvec")
    if len({len(row) for row in rows}) != 1 or (len(rows) != 3 and len(rows[0]) != 3):
        widths = " or ".join(str(n) for n in sorted({len(row) for row in rows}))
        raise FileError(f"{bvecs_path}: {len(rows)} rows of {widths} values; expected 3×N or N×3")
    vectors = torch.stack(rows)
    vectors = vectors.T if len(rows) == 3 else vectors
    if len(vectors) != len(bvals):
        raise FileError(f"{bvecs_path}: {len(vectors)} directions; expected {len(bvals)}, as in {bvals_path}")
    axes = grid.affine[:3, :3] / grid.voxel_sizes
    if float(torch.linalg.det(axes)) > 0:
        vectors = vectors * vectors.new_tensor([-1.0, 1.0, 1.0])
    with naming(f"{bvals_path}, {bvecs_path}"):
        return GradientTable(bvals, vectors @ axes.T)


def read_mrtrix_gradients(path: PathLike) -> GradientTable:
    """Read MRtrix's table: a row `x y z b` a volume, directions in world axes already.

    Raises
    ------
    FileError
        When the file is missing or holds something else.
    """
    rows = read_rows(path, "value")
    wrong = next((i for i, row in enumerate(rows) if len(row) != 4), None)
    if wrong is not None:
        raise FileError(f"{path}: row {wrong + 1}: {len(rows[wrong])} values; expected 4 (x y z b)")
    table = torch.stack(rows)
    with naming(path):
        return GradientTable(table[:, 3], table[:, :3])


def read_rows(path: PathLike, field: str) -> list[Tensor]:
    """Return the rows of finite numbers of a text file; # begins a comment, commas count as spaces.

    Raises
    ------
    FileError
        When the file is missing, empty or not text, or a word is no finite number.
    """
    lines = [line.partition("#")[0].replace(",", " ").split() for line in read_text(path).splitlines()]
    rows = [(i, words) for i, words in enumerate(lines, start=1) if words]
    if not rows:
        raise FileError(f"{path}: holds no {field}")
    return [
        torch.tensor([number(path, i, field, word) for word in words], dtype=torch.float64)
        for i, words in rows
    ]

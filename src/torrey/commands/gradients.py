"""The gradients of a diffusion image as a command is given them: FSL's two files, or MRtrix's one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    from ..tractography import Grid
    from ..tractography.orientation import GradientTable


def read_gradients(bvals: Path | None, bvecs: Path | None, grad: Path | None, grid: Grid) -> GradientTable:
    """Return the gradients in `bvals` and `bvecs`, or in `grad`, of an image on `grid`.

    Raises
    ------
    InputError
        When neither or both kinds are given, or a file is wrong.
    """
    from ..tractography.orientation import read_fsl_gradients, read_mrtrix_gradients

    if grad is not None and bvals is None and bvecs is None:
        return read_mrtrix_gradients(grad)
    if grad is None and bvals is not None and bvecs is not None:
        return read_fsl_gradients(bvals, bvecs, grid=grid)
    raise InputError("gradients: expected --bvals and --bvecs, or --grad")

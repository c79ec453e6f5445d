"""Read and write streamlines by the extension of the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ...errors import FileError, InputError
from ...replace import replaced_when_written
from ...text_files import PathLike
from ..grid import Grid
from ..streamlines import Streamlines
from .tck import parse_tck, tck_bytes
from .trk import parse_trk, trk_bytes
from .trx import read_trx, trx_bytes


def read_tractogram(path: PathLike) -> Streamlines:
    """Return the streamlines of a `.tck`, `.trk` or `.trx` file, points in mm, world RAS+, float64.

    What belongs to points or streamlines besides (scalars, properties, groups) is not read.

    Raises
    ------
    FileError
        When the file is missing, empty, cut short or of another kind, when it holds another number of
        streamlines than its header says, or a point is not finite.
    MissingLibraryError
        When a `.trx` file is read without trx-python.
    """
    path = Path(path)
    suffix = _suffix_of(path)
    content = _content_of(path)
    if suffix == ".tck":
        points, counts = parse_tck(path, content)
    elif suffix == ".trk":
        points, counts = parse_trk(path, content)
    else:
        points, counts = read_trx(path)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    _require_finite(path, points, offsets)
    return Streamlines(torch.from_numpy(points), torch.from_numpy(offsets))


def write_tractogram(
    path: PathLike,
    streamlines: Streamlines,
    *,
    grid: Grid | None = None,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Write `streamlines` by the extension, points in float32; the file appears only when it is whole.

    Parameters
    ----------
    path : path
        `.tck`, `.trk` or `.trx`.
    streamlines : Streamlines
        Points in mm, world RAS+.
    grid : Grid, optional
        The image that the streamlines belong to. `.trk` and `.trx` cannot be written without.
    fields : mapping, optional
        Lines for the header of a `.tck`, as `{"step_size": 0.3}`, which MRtrix's `tckmap` looks for. The
        other formats have no place for them.

    Raises
    ------
    InputError
        When the format needs a grid and has none, a point is not finite, or a field does not fit on a line.
    FileError
        When the extension is unknown, or the folder is missing or cannot be written.
    MissingLibraryError
        When a `.trx` file is written without trx-python.
    """
    path = Path(path)
    suffix = _suffix_of(path)
    points = streamlines.points.detach().cpu().double().numpy()
    counts = streamlines.n_points.cpu().numpy()
    with np.errstate(over="ignore"):  # a point beyond float32 becomes infinite, and is told
        _require_finite(path, points.astype(np.float32), streamlines.offsets.cpu().numpy())
    if suffix == ".tck":
        _write(path, tck_bytes(path, points, counts, fields or {}))
        return
    if grid is None:
        raise InputError(f"{path}: {suffix} needs the grid of the image that the streamlines belong to")
    _write(path, (trk_bytes if suffix == ".trk" else trx_bytes)(path, points, counts, grid))


def _suffix_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".tck", ".trk", ".trx"):
        raise FileError(f"{path}: extension is {path.suffix!r}; expected .tck, .trk or .trx")
    return suffix


def _content_of(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if not content:
        raise FileError(f"{path}: is empty")
    return content


def _require_finite(path: Path, points: np.ndarray, offsets: np.ndarray) -> None:
    finite = np.isfinite(points)
    if not finite.all():
        wrong = int(np.argmin(finite)) // 3
        owner = int(np.searchsorted(offsets, wrong, side="right")) - 1
        raise FileError(
            f"{path}: streamline {owner}: point {wrong - offsets[owner]} is "
            f"{' '.join(f'{x:g}' for x in points[wrong])}; expected finite numbers"
        )


def _write(path: Path, content: bytes) -> None:
    with replaced_when_written(path) as beside:
        beside.write_bytes(content)

"""The `.trx` format, through trx-python."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.streamlines.array_sequence import ArraySequence
from nibabel.streamlines.tractogram import Tractogram

from ...errors import FileError, InputError, MissingLibraryError
from ..grid import Grid


def read_trx(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return points (P, 3) in mm, world RAS+, and the number of points (S,) of each streamline."""
    library = _library()
    try:
        file = library.load(str(path))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: is not a whole .trx file ({' '.join(str(error).split())})") from error
    try:
        counts = np.array([len(curve) for curve in file.streamlines], dtype=np.int64)
        points = np.array(file.streamlines.get_data(), dtype=np.float64).reshape(-1, 3)
        said = int(file.header["NB_STREAMLINES"])
    finally:
        file.close()
    if said != len(counts) or counts.sum() != len(points):
        raise FileError(f"{path}: holds {len(counts)} streamlines, {said} in its header; is it cut short?")
    return points, counts


def trx_bytes(path: Path, points: np.ndarray, counts: np.ndarray, grid: Grid) -> bytes:
    """Return the content of a `.trx` file."""
    library = _library()
    if not counts.all():
        raise InputError(
            f"{path}: streamline {int(np.argmin(counts))} has no point; expected some in each for .trx"
        )
    reference = nibabel.Nifti1Header()
    reference.set_data_shape(grid.shape)
    reference.set_sform(grid.affine.cpu().numpy(), 1)
    curves = np.split(points.astype(np.float32), np.cumsum(counts)[:-1]) if len(counts) else []
    types = {"positions": np.float32, "offsets": np.uint32, "dpv": {}, "dps": {}}
    tractogram = Tractogram(ArraySequence(curves), affine_to_rasmm=np.eye(4))
    file = library.TrxFile.from_tractogram(tractogram, reference=reference, dtype_dict=types)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "tracks.trx"
        library.save(file, str(whole))
        file.close()
        return whole.read_bytes()


def _library() -> Any:
    try:
        import trx.trx_file_memmap
    except ImportError:
        raise MissingLibraryError('a .trx file needs trx-python: pip install "torrey[trx]"') from None
    return trx.trx_file_memmap

"""Protocol files, picked by their name."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError
from ..text_files import PathLike
from .acquisition import Acquisition
from .camino import read_scheme, write_scheme
from .fsl import read_fsl_beside, write_fsl_beside
from .pulseq import read_pulseq
from .tsv import read_tsv, write_tsv

_BVAL_SUFFIXES = (".bval", ".bvals")
_EXPECTED = "expected .tsv, .scheme (Camino), or .bval with .bvec and timings .toml beside (FSL)"
_EXPECTED_TO_READ = f"{_EXPECTED}, or .seq (Pulseq)"


def read_acquisition(path: PathLike) -> Acquisition:
    """Read a protocol: `.tsv`, Camino's `.scheme`, FSL's `.bval` with `.bvec` and `.toml` beside, or `.seq`.

    Raises
    ------
    FileError
        When the name ends otherwise, or the file is missing, not text or wrong.
    """
    suffix = Path(path).suffix
    if suffix == ".tsv":
        return read_tsv(path).acquisition
    if suffix == ".scheme":
        return read_scheme(path)
    if suffix in _BVAL_SUFFIXES:
        return read_fsl_beside(path)
    if suffix == ".seq":
        return read_pulseq(path)
    raise FileError(f"{path}: unknown kind of protocol file; {_EXPECTED_TO_READ}")


def write_acquisition(path: PathLike, acquisition: Acquisition) -> None:
    """Write a protocol of pulsed gradients as `read_acquisition` reads it.

    Raises
    ------
    InputError
        When a measurement has other gradients than pulses.
    FileError
        When the name ends otherwise, or the file cannot be written.
    """
    acquisition.require_pgse(str(path))
    suffix = Path(path).suffix
    if suffix == ".tsv":
        write_tsv(path, acquisition)
    elif suffix == ".scheme":
        write_scheme(path, acquisition)
    elif suffix in _BVAL_SUFFIXES:
        write_fsl_beside(path, acquisition)
    else:
        raise FileError(f"{path}: unknown kind of protocol file; {_EXPECTED}")

"""FSL's pair of text files: `bval` (one row of b-values) and `bvec` (three rows of directions).

They carry no timings, which are given beside them: as arguments, or in a TOML file of the same name with
`small_delta`, `big_delta` and, if wanted, `echo_time`, each one number or one a measurement, in ms.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import FileError
from ..text_files import PathLike, data_lines, format_number, naming, number, read_text, write_text
from .acquisition import Acquisition
from .checks import check_bvals, checked_timings, unit_directions

_REQUIRED, _OPTIONAL = ("small_delta", "big_delta"), ("echo_time",)


def read_fsl(
    bvals_path: PathLike,
    bvecs_path: PathLike,
    *,
    small_delta: object,
    big_delta: object,
    echo_time: object = None,
) -> Acquisition:
    """Read b-values and directions, 3×N as FSL writes them or N×3, and join them with timings.

    Directions are taken in the frame of the mesh, as they stand: no image is there to flip its axes.

    Parameters
    ----------
    bvals_path, bvecs_path : path
        Text files; s/mm² and unit vectors.
    small_delta, big_delta, echo_time : scalar or (N,) array_like
        As for `Acquisition.pgse`, ms.

    Raises
    ------
    FileError
        When a file is missing, not text or wrong; the message names it and the measurement, counted from 1.
    InputError
        When a timing is wrong.
    """
    bvals = _read_bvals(bvals_path)
    vectors = _read_bvecs(bvecs_path)
    if len(bvals) != len(vectors):
        raise FileError(f"{bvecs_path}: {len(vectors)} directions; expected {len(bvals)}, as in {bvals_path}")
    with naming(bvals_path):
        check_bvals(bvals, place=_measurement)
    with naming(bvecs_path):
        unit_directions(vectors, bvals, place=_measurement)
    return Acquisition.pgse(bvals, vectors, small_delta=small_delta, big_delta=big_delta, echo_time=echo_time)


def read_fsl_beside(bvals_path: PathLike) -> Acquisition:
    """Read `NAME.bval` with the `NAME.bvec` and the timings `NAME.toml` that lie beside it."""
    bvals_path = Path(bvals_path)
    bvecs_path = bvals_path.with_suffix(bvals_path.suffix.replace("val", "vec"))
    timings_path = bvals_path.with_suffix(".toml")
    timings = _read_timings(timings_path)
    n_measurements = len(_read_bvals(bvals_path))
    with naming(timings_path):
        checked_timings(**timings, like=torch.empty(n_measurements), place=_measurement)
    return read_fsl(bvals_path, bvecs_path, **timings)


def write_fsl(bvals_path: PathLike, bvecs_path: PathLike, acquisition: Acquisition) -> None:
    """Write `bval` and `bvec` (3×N); the timings are not in these files."""
    acquisition.require_pgse(str(bvals_path))
    bvals = acquisition.bvals.detach().tolist()
    rows = acquisition.bvecs.detach().T.tolist()
    write_text(bvals_path, _join(bvals))
    write_text(bvecs_path, "".join(_join(row) for row in rows))


def write_fsl_beside(bvals_path: PathLike, acquisition: Acquisition) -> None:
    """Write `NAME.bval`, `NAME.bvec` and the timings `NAME.toml`, as `read_fsl_beside` reads them."""
    bvals_path = Path(bvals_path)
    fields = {name: getattr(acquisition, name).detach().tolist() for name in _REQUIRED + _OPTIONAL}
    lines = [f"{name} = [{', '.join(format_number(x) for x in values)}]" for name, values in fields.items()]
    write_text(bvals_path.with_suffix(".toml"), "\n".join(["# ms", *lines, ""]))
    write_fsl(bvals_path, bvals_path.with_suffix(bvals_path.suffix.replace("val", "vec")), acquisition)


def _read_bvals(path: PathLike) -> Tensor:
    lines = data_lines(read_text(path))
    if len(lines) > 1 and any(len(line.words) != 1 for line in lines):
        raise FileError(f"{path}: {len(lines)} rows; expected one row of b-values or one value a row")
    words = [(line.number, word) for line in lines for word in line.words]
    if not words:
        raise FileError(f"{path}: has no b-value")
    return torch.tensor([number(path, i, "bval", word) for i, word in words], dtype=torch.float64)


def _read_bvecs(path: PathLike) -> Tensor:
    lines = data_lines(read_text(path))
    widths = {len(line.words) for line in lines}
    if len(widths) != 1 or (len(lines) != 3 and widths != {3}):
        shape = f"{len(lines)} rows of {' or '.join(map(str, sorted(widths)))} values"
        raise FileError(f"{path}: {shape}; expected 3×N or N×3")
    values = [[number(path, line.number, "bvec", word) for word in line.words] for line in lines]
    array = torch.tensor(values, dtype=torch.float64)
    return array.T if len(lines) == 3 else array


def _read_timings(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileError(
            f"{path}: no such file; expected the timings of the bval file there: "
            f"{', '.join(_REQUIRED + _OPTIONAL)} (ms)"
        )
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not a TOML file: {error}") from error
    unknown = sorted(set(values) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise FileError(f"{path}: unknown field {unknown[0]}; expected {', '.join(_REQUIRED + _OPTIONAL)}")
    for name in _REQUIRED:
        if name not in values:
            raise FileError(f"{path}: {name} is missing; expected {name} = … (ms)")
    return {"echo_time": None, **values}


def _join(values: list[float]) -> str:
    return " ".join(map(format_number, values)) + "\n"


def _measurement(index: int) -> str:
    return f"measurement {index + 1}"

"""Camino's scheme files, version STEJSKALTANNER: a line `gx gy gz |G| Δ δ TE` a measurement, T/m and s."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import units
from ..errors import FileError, InputError
from ..text_files import Line, PathLike, data_lines, format_number, naming, read_text, table, write_text
from .acquisition import Acquisition
from .checks import LARGEST_BVAL, check_bvals, checked_timings, unit_directions

_VERSION = "STEJSKALTANNER"
_COLUMNS = ("gx", "gy", "gz", "|G|", "DELTA", "delta", "TE")
_LONGEST = {"DELTA": 2.0, "delta": 2.0, "TE": 4.0}
"""s; longer times are in ms."""


def read_scheme(path: PathLike) -> Acquisition:
    """Read a Camino scheme file of version STEJSKALTANNER.

    Raises
    ------
    FileError
        When the file is missing, not text, of another version or wrong; the message names line and field.
    """
    lines = data_lines(read_text(path))
    version = " ".join(lines[0].words) if lines else ""
    if version.replace(" ", "").upper() != f"VERSION:{_VERSION}":
        place = f"line {lines[0].number}" if lines else "the first line"
        raise FileError(f"{path}: {place} is {version[:40]!r}; expected VERSION: {_VERSION}")
    lines = lines[1:]
    values = table(path, lines, _COLUMNS)
    _check_seconds(path, lines, values)
    vectors, (strength, Delta, delta, echo) = values[:, :3], units.MILLI * values[:, 3:].T

    def place_of(index: int) -> str:
        return f"line {lines[index].number}"

    with naming(path):
        timings = checked_timings(delta, Delta, echo, vectors, place=place_of)
        bvals = units.bval_from_gradient(strength, units.pgse_diffusion_weighting(delta, Delta))
        wrong = ((strength < 0) | (bvals > LARGEST_BVAL)).nonzero()
        if len(wrong):
            i = int(wrong[0])
            raise InputError(
                f"{place_of(i)}: |G| is {float(values[i, 3]):g}, which makes b = {float(bvals[i]):.3g} "
                "s/mm²; expected ≥ 0, in T/m"
            )
        check_bvals(bvals, place=place_of)
        vectors = unit_directions(vectors, bvals, place=place_of)
    return Acquisition(strength[:, None] * vectors, *timings)


def write_scheme(path: PathLike, acquisition: Acquisition) -> None:
    """Write a Camino scheme file of version STEJSKALTANNER."""
    acquisition.require_pgse(str(path))
    strength = acquisition.gradients.norm(dim=1)
    times = (acquisition.big_delta, acquisition.small_delta, acquisition.echo_time)
    si = torch.stack((strength, *times), dim=1) / units.MILLI
    rows = torch.cat((acquisition.bvecs, si), dim=1).detach().tolist()
    lines = [" ".join(map(format_number, row)) for row in rows]
    write_text(path, "\n".join([f"VERSION: {_VERSION}", *lines, ""]))


def _check_seconds(path: PathLike, lines: Sequence[Line], values: Tensor) -> None:
    for name, limit in _LONGEST.items():
        for line, value in zip(lines, values[:, _COLUMNS.index(name)].tolist(), strict=True):
            if not 0 <= value <= limit:
                raise FileError(
                    f"{path}: line {line.number}: {name} is {value:g}; expected 0 … {limit:g} (s)"
                )

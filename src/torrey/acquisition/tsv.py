"""Torrey's TSV of protocols and signals: a header row and one row a measurement.

    gx gy gz bval small_delta big_delta echo_time [signal [signal_imag]]

A file with a signal begins with a line `# normalised: true` (S/S(0)) or `# normalised: false` (µm³).
`gx gy gz` is the unit direction, zero where there is none; b in s/mm², times in ms. Signals of gradients that
turn in space are written with the main axis of the b-tensor and NaN for δ and Δ, and are not read back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import FileError, InputError
from ..text_files import PathLike, data_lines, format_number, naming, read_text, table, write_text
from .acquisition import Acquisition
from .checks import check_bvals, check_finite, checked_timings, float64, unit_directions
from .free_waveform import FreeWaveform

_PROTOCOL = ("gx", "gy", "gz", "bval", "small_delta", "big_delta", "echo_time")
_HEADERS = (_PROTOCOL, (*_PROTOCOL, "signal"), (*_PROTOCOL, "signal", "signal_imag"))

_LARGEST_ATTENUATION = 5.0
"""|S/S(0)| above this is a signal in µm³ under a wrong first line, not noise."""


@dataclass(frozen=True, eq=False)
class SignalTable:
    """A protocol, and the signals measured with it where there are any.

    Attributes
    ----------
    acquisition : Acquisition
        N measurements.
    signal : (N,) Tensor, optional
        float64 or complex128: S/S(0) where `normalised`, else µm³.
    normalised : bool, optional
        None where there is no signal.
    """

    acquisition: Acquisition
    signal: Tensor | None = None
    normalised: bool | None = None


def read_tsv(path: PathLike) -> SignalTable:
    """Read a protocol or a table of signals.

    Raises
    ------
    FileError
        When the file is missing, not text or wrong; the message names line and field.
    """
    text = read_text(path)
    found = data_lines(text)
    columns, lines = tuple(found[0].words) if found else (), found[1:]
    if columns not in _HEADERS:
        place = f"line {found[0].number}" if found else "the first line"
        raise FileError(
            f"{path}: {place} is {' '.join(columns)[:60]!r}; expected the header "
            f"{' '.join(_PROTOCOL)} [signal [signal_imag]]"
        )
    normalised = _read_normalised(path, text) if "signal" in columns else None
    values = table(path, lines, columns)
    vectors, bvals, delta, Delta, echo = values[:, :3], *values[:, 3:7].T

    def place_of(index: int) -> str:
        return f"line {lines[index].number}"

    with naming(path):
        check_bvals(bvals, place=place_of)
        unit_directions(vectors, bvals, place=place_of)
        checked_timings(delta, Delta, echo, vectors, place=place_of)
    signal = None
    if normalised is not None:
        signal = values[:, 7] if len(columns) == 8 else torch.complex(values[:, 7], values[:, 8])
        largest = int(signal.abs().argmax())
        if normalised and signal[largest].abs() > _LARGEST_ATTENUATION:
            raise FileError(
                f"{path}: {place_of(largest)}: signal {float(signal[largest].abs()):g} is no S/S(0); "
                "expected `# normalised: false` for µm³"
            )
    acquisition = Acquisition.pgse(bvals, vectors, small_delta=delta, big_delta=Delta, echo_time=echo)
    return SignalTable(acquisition, signal, normalised)


def write_tsv(
    path: PathLike, acquisition: Acquisition, signal: object = None, *, normalised: bool | None = None
) -> None:
    """Write a protocol, or a table of signals.

    Parameters
    ----------
    path : path
        Written beside, then renamed.
    acquisition : Acquisition
        N measurements.
    signal : (N,) array_like, optional
        Real or complex; S/S(0) where `normalised`, else µm³.
    normalised : bool
        Needed with a signal.

    Raises
    ------
    InputError
        When the signal has another length or is not finite, `normalised` is not said, or the columns do not
        tell what the gradients were.
    FileError
        When the file cannot be written.
    """
    a = acquisition
    free = torch.tensor([isinstance(w, FreeWaveform) for w in a.waveforms])[a.waveform_of.cpu()]
    a.subset(~free if signal is not None else slice(None)).require_pgse(str(path))
    times = torch.stack((a.bvals, a.small_delta, a.big_delta, a.echo_time), dim=1)
    main = torch.linalg.eigh(a.b_tensors).eigenvectors[:, :, -1]
    directions = torch.where(free[:, None].to(main.device), main, a.bvecs)
    columns = [torch.cat((directions, times), dim=1)]
    if signal is not None:
        columns += _signal_columns(signal, a)
        if normalised is None:
            raise InputError("normalised: expected True (S/S(0)) or False (µm³) with a signal")
    rows = torch.cat(columns, dim=1).detach().cpu()
    first = [] if signal is None else [f"# normalised: {str(bool(normalised)).lower()}"]
    header = "\t".join(_HEADERS[rows.shape[1] - len(_PROTOCOL)])
    lines = ["\t".join(map(format_number, row)) for row in rows.tolist()]
    write_text(path, "\n".join([*first, header, *lines, ""]))


def _signal_columns(signal: object, acquisition: Acquisition) -> list[Tensor]:
    if isinstance(signal, Tensor) and signal.is_complex():
        parts = [signal.real, signal.imag]
    else:
        parts = [float64(signal, "signal")]
    for part in parts:
        if part.shape != (acquisition.n_measurements,):
            raise InputError(
                f"signal: expected shape ({acquisition.n_measurements},), got {tuple(part.shape)}"
            )
        check_finite(part, "signal", "a number")
    return [part.to(acquisition.gradients.device)[:, None] for part in parts]


def _read_normalised(path: PathLike, text: str) -> bool:
    first = text.splitlines()[0]
    match = re.fullmatch(r"#\s*normalised:\s*(true|false)\s*", first)
    if match is None:
        raise FileError(
            f"{path}: line 1 is {first[:60]!r}; expected `# normalised: true` (S/S(0)) or "
            "`# normalised: false` (µm³) before a signal"
        )
    return match[1] == "true"

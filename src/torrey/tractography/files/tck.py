"""MRtrix's `.tck`: lines of text, then rows of three numbers, NaN after each streamline and ∞ at the end.

Points are in mm, world RAS+, as everywhere here. nibabel knows the format too; here errors say at which byte,
the count is checked, and streamlines without points keep their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...errors import FileError, InputError

_MAGIC = "mrtrix tracks"
_TYPES = {"float32le": "<f4", "float32be": ">f4", "float64le": "<f8", "float64be": ">f8"}
_OURS = ("datatype", "count", "file", "END")
"""Fields that the writer alone sets."""


def parse_tck(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return points (P, 3) and the number of points (S,) of each streamline."""
    fields, begin = _header(path, content)
    dtype = np.dtype(_TYPES[fields["datatype"].lower()])
    n_rows, rest = divmod(len(content) - begin, 3 * dtype.itemsize)
    rows = np.frombuffer(content, dtype, 3 * max(n_rows, 0), begin).reshape(-1, 3) if n_rows > 0 else None
    if rows is None or rest or not np.isinf(rows[-1]).all():
        raise FileError(
            f"{path}: ends at byte {len(content)} without the row of infinities that closes a .tck; "
            "is it cut short?"
        )
    x, y, z = rows[:-1].T
    is_break = np.isnan(x) & np.isnan(y) & np.isnan(z)
    breaks = np.flatnonzero(is_break)
    if len(is_break) and not is_break[-1]:
        at = begin + (len(rows) - 1) * 3 * dtype.itemsize
        raise FileError(f"{path}: byte {at}: the file ends within a streamline; expected a row of NaN before")
    counts = np.diff(breaks, prepend=-1) - 1
    _check_count(path, fields, counts)
    return rows[:-1][~is_break].astype(np.float64), counts


def tck_bytes(path: Path, points: np.ndarray, counts: np.ndarray, fields: Mapping[str, object]) -> bytes:
    """Return the content of a `.tck` file."""
    lines = [_MAGIC]
    for key, value in fields.items():
        line = f"{key}: {value}"
        if not key or key in _OURS or ":" in key or len(line.splitlines()) != 1:
            raise InputError(f"{path}: field {line!r}; expected one line, and none of {', '.join(_OURS)}")
        lines.append(line)
    lines += ["datatype: Float32LE", f"count: {len(counts)}", "file: . "]
    header = "\n".join(lines).encode()
    begin = -(-(len(header) + 32) // 16) * 16
    header += f"{begin}\nEND\n".encode()
    rows = np.full((len(points) + len(counts) + 1, 3), np.nan, "<f4")
    rows[np.arange(len(points)) + np.repeat(np.arange(len(counts)), counts)] = points
    rows[-1] = np.inf
    return header.ljust(begin, b"\0") + rows.tobytes()


def _header(path: Path, content: bytes) -> tuple[dict[str, str], int]:
    """Return the fields, the first of each name, and the byte where the rows begin."""
    if not content.startswith(_MAGIC.encode()):
        raise FileError(f"{path}: does not begin with {_MAGIC!r}; expected a .tck file")
    end = content.find(b"\nEND\n")
    if end < 0:
        raise FileError(f"{path}: its header has no line END; is it cut short?")
    fields: dict[str, str] = {}
    for line in content[:end].decode(errors="replace").splitlines()[1:]:
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    datatype, place = fields.get("datatype", ""), fields.get("file", "").split()
    if datatype.lower() not in _TYPES:
        raise FileError(f"{path}: datatype is {datatype!r}; expected Float32 or Float64 with LE or BE")
    if len(place) != 2 or place[0] != "." or not place[1].isdecimal() or int(place[1]) < end + 5:
        raise FileError(
            f"{path}: file is {fields.get('file', '')!r}; expected '. BYTE', a place after the header of "
            f"{end + 5} bytes"
        )
    return fields, int(place[1])


def _check_count(path: Path, fields: dict[str, str], counts: np.ndarray) -> None:
    """Raise where the header counts other streamlines; some writers leave those without points uncounted."""
    said = fields.get("count", str(len(counts)))
    if not said.isdecimal() or int(said) not in (len(counts), np.count_nonzero(counts)):
        raise FileError(
            f"{path}: count is {said[:20]!r} in its header, but the file holds {len(counts)} streamlines"
        )

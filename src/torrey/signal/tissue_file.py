"""Tissue from a TOML file.

diffusivity = [1.0, 2.0]   # µm²/ms, one for each compartment; one number or 3×3 matrix serves all
T2 = [40.0, 80.0]          # ms; may be left out
spin_density = 1.0         # may be left out

[permeability]             # µm/ms, of the interface of two compartments
"0-1" = 0.1

[surface_relaxivity]       # µm/ms, at the outer boundary of a compartment
"1" = 0.01
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from ..errors import FileError
from ..text_files import PathLike, naming, read_text
from .tissue import Tissue

_TABLES = {
    "permeability": (re.compile(r"(\d+)-(\d+)"), 'pairs of compartments such as "0-1"'),
    "surface_relaxivity": (re.compile(r"(\d+)"), 'compartments such as "0"'),
}
_FIELDS = ("diffusivity", "T2", "spin_density", *_TABLES)


def read_tissue(path: PathLike) -> Tissue:
    """Read a `Tissue`.

    Raises
    ------
    FileError
        When the file is missing, not TOML, or a field is unknown or wrong; the message names the field.
    """
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not a TOML file: {error}") from error
    for name in values:
        if name not in _FIELDS:
            raise FileError(f"{path}: unknown field {name}; expected {', '.join(_FIELDS)}")
    with naming(path):
        return Tissue(**{name: _keyed(path, name, value) for name, value in values.items()})


def _keyed(path: PathLike, name: str, value: Any) -> Any:
    """Return a table with numbers for keys, and other values as they are."""
    if name not in _TABLES:
        return value
    pattern, expected = _TABLES[name]
    if not isinstance(value, dict):
        raise FileError(f"{path}: {name}: expected a table of {expected}, got {value!r}")
    keyed: dict[object, object] = {}
    for key, speed in value.items():
        match = pattern.fullmatch(key)
        if match is None:
            raise FileError(f"{path}: {name}: expected {expected}, got {key!r}")
        numbers = tuple(int(group) for group in match.groups())
        keyed[numbers if len(numbers) > 1 else numbers[0]] = speed
    return keyed

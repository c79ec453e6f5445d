"""Tissue from a TOML file.

diffusivity = 2.0      # µm²/ms, or a symmetric 3×3 matrix
T2 = 80.0              # ms; may be left out
spin_density = 1.0     # may be left out
"""

from __future__ import annotations

import tomllib

from ..acquisition.text import PathLike, naming, read_text
from ..errors import FileError
from .tissue import Tissue

_FIELDS = ("diffusivity", "T2", "spin_density")


def read_tissue(path: PathLike) -> Tissue:
    """Read the `Tissue` of one compartment.

    Raises
    ------
    FileError
        When the file is missing, not TOML, or a field is unknown or wrong; the message names the field.
    """
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not a TOML file: {error}") from error
    for name, value in values.items():
        if name not in _FIELDS:
            raise FileError(f"{path}: unknown field {name}; expected {', '.join(_FIELDS)}")
        if isinstance(value, list) and _per_compartment(name, value):
            raise FileError(
                f"{path}: {name} has {len(value)} values; only one compartment is supported in this version"
            )
    with naming(path):
        return Tissue(**values)


def _per_compartment(name: str, value: list[object]) -> bool:
    rows = [item for item in value if isinstance(item, list) and not any(isinstance(x, list) for x in item)]
    one_matrix = name == "diffusivity" and len(rows) == len(value)
    return len(value) > 1 and not one_matrix

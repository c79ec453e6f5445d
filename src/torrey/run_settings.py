"""Settings of a reconstruction: from a TOML file, then from the command line, which wins.

shape = "tube"         # tube | vertices | spectral | sweep | pca | autoencoder
family = "bend"        # of a learned shape: bend | bead | fan | mixed
optimiser = "lm"       # lm | adam
starts = 8
snr = 50               # or sigma, the noise of one measurement over S(0)
seed = 0

[tube]                 # options of torrey.shape.Tube, named as there
[lm]                   # options of torrey.inverse.LevenbergMarquardt

"""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import FileError, InputError

LEARNED = ("sweep", "pca", "autoencoder")
SHAPES = ("tube", "vertices", "spectral", *LEARNED)
FAMILIES = ("bend", "bead", "fan", "mixed")
OPTIMISERS = ("lm", "adam")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What the user chose; None where the library's default holds.

    `family` is what a learned shape was learned from; "mixed", all of them, is usual for sweep. `sigma` is
    the standard deviation of the noise of one measurement over S(0), `snr` its inverse. `options` holds the
    tables of the settings file by the name of the shape or optimiser they belong to.

    Raises
    ------
    InputError
        When a value is unknown or out of range; the message names the field.
    """

    shape: str = "tube"
    family: str | None = None
    optimiser: str = "lm"
    starts: int | None = None
    snr: float | None = None
    sigma: float | None = None
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_shape()
        if self.optimiser not in OPTIMISERS:
            raise InputError(f"optimiser: {self.optimiser!r} is unknown; expected {' or '.join(OPTIMISERS)}")
        for name in ("starts", "seed"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InputError(f"{name}: expected a whole number, got {value!r}")
        if self.starts is not None and not 1 <= self.starts <= 10_000:
            raise InputError(f"starts: expected 1 … 10000, got {self.starts}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: expected 0 … 2⁶³ − 1, got {self.seed}")
        if self.snr is not None and self.sigma is not None:
            raise InputError("snr and sigma: expected one of them, got both")
        for name in ("snr", "sigma"):
            value = getattr(self, name)
            if value is not None and not _positive(value):
                raise InputError(f"{name}: expected a positive number, got {value!r}")
        if self.sigma is not None and self.sigma >= 1:
            raise InputError(f"sigma: {self.sigma:g} of S(0) leaves no signal; expected below 1 (σ/S(0))")

    def _check_shape(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"shape: {self.shape!r} is unknown; expected {' or '.join(SHAPES)}")
        if self.family is not None and self.shape not in LEARNED:
            raise InputError(f"family: is {self.family!r}, but {self.shape} is not learned; expected none")
        if self.shape in LEARNED and self.shape != "sweep" and self.family is None:
            raise InputError(f"family: --shape {self.shape} takes one; expected {', '.join(FAMILIES[:3])}")
        families = FAMILIES if self.shape == "sweep" else FAMILIES[:3]
        if self.family is not None and self.family not in families:
            raise InputError(f"family: {self.family!r} is unknown; expected {' or '.join(families)}")

    @property
    def noise(self) -> float | None:
        """σ of one measurement over S(0), or None where the user said nothing."""
        return 1 / self.snr if self.snr is not None else self.sigma


def load_settings(path: Path | None, **flags: Any) -> RunSettings:
    """Return the settings of the file at `path`, overridden by those `flags` that are not None.

    Raises
    ------
    FileError
        When the file is missing, not TOML, or names a field that does not exist.
    InputError
        When a flag is out of range.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if path is None:
        return RunSettings(**given)
    values = _read(path)
    # a flag for one of these replaces either of the file
    if {"snr", "sigma"} & given.keys():
        values = {name: value for name, value in values.items() if name not in ("snr", "sigma")}
    try:
        RunSettings(**values)
    except InputError as error:
        raise FileError(f"{path}: {error}") from error
    return RunSettings(**values | given)


def build(made: type, options: Mapping[str, Any], *, table: str, **given: Any) -> Any:
    """Return `made(**given, **options)`, with unknown options reported as those of `[table]`."""
    known = [
        name
        for name, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in given
    ]
    for name in options:
        if name not in known:
            raise InputError(f"[{table}]: unknown option {name}; expected {', '.join(known)}")
    try:
        return made(**given, **options)
    except TypeError as error:
        raise InputError(f"[{table}]: an option has the wrong type: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    from .text_files import read_text

    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not a TOML file: {error}") from error
    tables = (*SHAPES, *OPTIMISERS)
    options = {name: values.pop(name) for name in tables if name in values}
    for name, value in options.items():
        if not isinstance(value, dict):
            raise FileError(f"{path}: {name}: expected a table [{name}], got {value!r}")
    names = [item.name for item in fields(RunSettings) if item.name != "options"]
    for name in values:
        if name not in names:
            expected = ", ".join([*names, *(f"[{table}]" for table in tables)])
            raise FileError(f"{path}: unknown field {name}; expected {expected}")
    return values | {"options": options}


def _positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 and math.isfinite(value)

"""`Recipe`: an experiment as a TOML file that says everything, and the tasks that it takes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ..errors import FileError, InputError
from ..shape.families import AbstractDeformed, Beads, BendTwist, Fans
from ..text_files import naming, read_text
from .typed_fields import made_from

FamilyName = Literal["bend", "bead", "fan"]
SettingName = Literal["paper", "honest"]
ScaleName = Literal["minutes", "hour", "full"]
Model = Literal["tube", "sweep", "pca", "autoencoder", "vertices", "cylinder", "mlp", "network"]
"""What is fitted: a shape model, every vertex, or a straight cylinder; or the network that guesses."""

FAMILIES: Mapping[str, AbstractDeformed] = {family.name: family for family in (BendTwist(), Beads(), Fans())}
SHIPPED = ("table1", "bend", "bead", "fan", "directions", "times", "convergence")
"""Names of the recipes in the package."""

_OF_PROTOCOL = ("directions", "big_delta")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """PGSE: δ and every Δ (ms) with every b-value (s/mm²) and electrostatic direction."""

    small_delta: float
    big_delta: tuple[float, ...]
    bvals: tuple[float, ...]
    directions: int


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the signal is made that a fit is given.

    `reference`: on the mesh and with the simulator of the fit ("same"), or on a finer mesh with second-order
    elements ("finer"). `pose`: whether the rotation is given. `snr`: at b = 0; no noise by default.
    """

    reference: Literal["same", "finer"]
    pose: Literal["known", "unknown"]
    snr: float | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a shape is found: the shape model or baseline, how it is fitted, and what tables call it.

    `trained_on`: a learned model knows the shapes of the family at hand, or of all families ("mixed").
    """

    label: str
    model: Model
    optimiser: Literal["lm", "adam"] = "lm"
    trained_on: Literal["family", "mixed"] = "family"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Values that are run through: of a parameter of the family, or of `directions` or `big_delta`."""

    name: str
    label: str
    values: tuple[float | tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is computed: test shapes of each family, repeats of each fit, starts and iterations of one.

    `iterations` are those of a descent, or epochs of a network, which learns from `training_shapes`.
    """

    shapes: int = 1
    repeats: int = 1
    starts: int
    iterations: int
    training_shapes: int = 300

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"{name}: is {value}; expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An experiment.

    Attributes
    ----------
    title : str
        Of table and figure.
    figure : {"bars", "lines", "curves"}
        Mean of each method; lines over `vary`; curves over the iterations.
    seed : int
        Of all that is random.
    diffusivity : float
        µm²/ms.
    layers : int
        Layers of cells of the template.
    families : tuple of str
        Whose shapes are reconstructed.
    shape : mapping of str to float
        Parameters of one member, unscaled; without it members of the test split are drawn.
    protocol : Protocol
        How signals are measured.
    vary, lines : Axis or None
        What changes along the figure's horizontal axis, and from line to line.
    method : mapping of str to Method
        What is compared.
    setting : mapping of str to Setting
        "paper" and "honest".
    scale : mapping of str to Scale
        "minutes", "hour" and "full".
    published : mapping
        By family and label: mean and standard deviation of d′, µm, printed beside.
    """

    title: str
    figure: Literal["bars", "lines", "curves"]
    families: tuple[FamilyName, ...]
    protocol: Protocol
    method: Mapping[str, Method]
    setting: Mapping[SettingName, Setting]
    scale: Mapping[ScaleName, Scale]
    seed: int = 0
    diffusivity: float = 2.0
    layers: int = 20
    shape: Mapping[str, float] = field(default_factory=dict)
    vary: Axis | None = None
    lines: Axis | None = None
    published: Mapping[FamilyName, Mapping[str, tuple[float, ...]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.figure == "lines" and self.vary is None:
            raise InputError("vary: is missing; expected what the lines run over")
        for name in ("method", "setting", "scale"):
            if not getattr(self, name):
                raise InputError(f"{name}: is empty; expected one table at least")
        for family, rows in self.published.items():
            for label, values in rows.items():
                if len(values) != 2:
                    raise InputError(f"published.{family}.{label}: expected mean and standard deviation")
        for axis in self.axes:
            for value in axis.values if axis.name in _OF_PROTOCOL else ():
                _of_protocol(axis.name, value)
        axes = {axis.name for axis in self.axes}
        given = self.shape.keys() | (axes - set(_OF_PROTOCOL))
        for family in self.families:
            expected = set(FAMILIES[family].parameters)
            if given and given != expected:
                raise InputError(
                    f"shape: {', '.join(sorted(given))} given, with what is varied; "
                    f"family {family} has {', '.join(sorted(expected))}"
                )

    @property
    def axes(self) -> tuple[Axis, ...]:
        """`vary` and `lines`, where they are."""
        return tuple(axis for axis in (self.vary, self.lines) if axis is not None)

    def specs(self, scale: str, settings: Sequence[str]) -> list[dict[str, Any]]:
        """Return the description of every task at the `scale`, in each of `settings`.

        Raises
        ------
        InputError
            When the recipe has no such scale or setting.
        """
        for kind, names in (("scale", (scale,)), ("setting", settings)):
            for name in names:
                if name not in getattr(self, kind):
                    raise InputError(
                        f"{kind}: {name} is not in the recipe, {', '.join(getattr(self, kind))} are"
                    )
        made = self._specs(self.scale[scale], settings)  # type: ignore[index]
        # as a store reads them back
        return [json.loads(json.dumps(spec)) for spec in made]

    def _specs(self, size: Scale, settings: Sequence[str]) -> Iterator[dict[str, Any]]:
        points = [
            dict(zip((axis.name for axis in self.axes), values, strict=True))
            for values in product(*(axis.values for axis in self.axes))
        ]
        outer = product(settings, self.families, points, self.method.items(), range(size.repeats))
        for setting, family, point, (name, method), repeat in outer:
            shape = {**self.shape, **{key: point[key] for key in point if key not in _OF_PROTOCOL}}
            measured = {key: _of_protocol(key, point[key]) for key in point if key in _OF_PROTOCOL}
            protocol = {**asdict(self.protocol), **measured}
            for sample in [None] if shape else self._samples(family, size.shapes):
                yield {
                    "family": family,
                    "sample": sample,
                    "shape": shape,
                    "point": point,
                    "method": name,
                    "model": method.model,
                    "optimiser": method.optimiser,
                    "trained_on": method.trained_on,
                    "setting": setting,
                    **asdict(self.setting[setting]),  # type: ignore[index]
                    "protocol": protocol,
                    "diffusivity": self.diffusivity,
                    "layers": self.layers,
                    "seed": self.seed,
                    "repeat": repeat,
                    "curves": self.figure == "curves",
                    "starts": size.starts,
                    "iterations": size.iterations,
                    "training_shapes": size.training_shapes,
                }

    def _samples(self, family: str, count: int) -> range:
        # the draws are independent, so the first are as good as any
        return FAMILIES[family].split("test")[:count]

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as JSON has it, for the manifest of a store."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values


def _of_protocol(name: str, value: float | tuple[float, ...]) -> int | tuple[float, ...]:
    """Return a `value` that an axis runs through as the `Protocol` has it."""
    if name == "directions" and isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "big_delta" and isinstance(value, tuple):
        return value
    expected = {"directions": "whole numbers", "big_delta": "lists of ms"}[name]
    raise InputError(f"values: one of {name} is {value}; expected {expected}")


def read_recipe(path: Path) -> Recipe:
    """Return the recipe of a TOML file.

    Raises
    ------
    FileError
        When it is not TOML, or a key is unknown, missing or of the wrong type.
    """
    try:
        values = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise FileError(f"{path}: not a TOML file: {error}") from error
    with naming(path):
        return made_from(Recipe, values)


def shipped_recipe(name: str) -> AbstractContextManager[Path]:
    """Return a context in which one of the recipes `SHIPPED` with the package is a file."""
    return as_file(files("torrey") / "data" / "recipes" / f"{name}.toml")

"""Models that ship with Torrey."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Literal, get_args, overload

from ..errors import InputError
from .autoencoder import Autoencoder
from .pca import PCA
from .sweep import Sweep

Kind = Literal["pca", "autoencoder", "sweep"]
FamilyName = Literal["bend", "bead", "fan", "mixed"]
FAMILIES = get_args(FamilyName)
"""All of which ship for a sweep, and the first three for the other kinds."""


@overload
def pretrained(kind: Literal["pca"], family: FamilyName) -> PCA: ...


@overload
def pretrained(kind: Literal["autoencoder"], family: FamilyName) -> Autoencoder: ...


@overload
def pretrained(kind: Literal["sweep"], family: FamilyName) -> Sweep: ...


def pretrained(kind: Kind, family: FamilyName) -> PCA | Autoencoder | Sweep:
    """Return the shape model of `kind` that was trained on `family`; docs/models.md tells its limits.

    Raises
    ------
    InputError
        When there is no such kind or family.
    """
    families = FAMILIES if kind == "sweep" else FAMILIES[:3]
    for name, value, expected in (("kind", kind, get_args(Kind)), ("family", family, families)):
        if value not in expected:
            raise InputError(f"pretrained: {name} is {value!r}, expected {' or '.join(expected)}")
    with as_file(files("torrey") / "data" / "models" / f"{kind}_{family}.safetensors") as path:
        match kind:
            case "pca":
                return PCA.load(path)
            case "autoencoder":
                return Autoencoder.load(path)
            case "sweep":
                return Sweep.load(path)

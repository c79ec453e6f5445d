"""Models that ship with Torrey."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Literal, get_args

from ..errors import InputError
from .autoencoder import Autoencoder
from .learned import LearnedShape
from .pca import PCA

Kind = Literal["pca", "autoencoder"]
FamilyName = Literal["bend", "bead", "fan"]


def pretrained(kind: Kind, family: FamilyName) -> LearnedShape:
    """Return the shape model of `kind` that was trained on `family`; docs/models.md tells its limits.

    Raises
    ------
    InputError
        When there is no such kind or family.
    """
    for name, value, expected in (("kind", kind, get_args(Kind)), ("family", family, get_args(FamilyName))):
        if value not in expected:
            raise InputError(f"pretrained: {name} is {value!r}, expected {' or '.join(expected)}")
    model = PCA if kind == "pca" else Autoencoder
    with as_file(files("torrey") / "data" / "models" / f"{kind}_{family}.safetensors") as path:
        return model.load(path)

"""Weights of learned shapes: safetensors files whose header says what they are of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..errors import FileError, InputError
from ..mesh import TetMesh
from ..replace import replaced_when_written

FORMAT = 1
"""Version of the files' layout; raised when an old file can no longer be read."""

_HEADER = "torrey"


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file of weights holds.

    Attributes
    ----------
    kind : str
        Of the model: pca, autoencoder or sweep.
    template : str
        `template_hash` of the template.
    tensors : mapping of str to Tensor
        The arrays.
    about : mapping of str to Any
        JSON-serialisable facts: family, settings of the training, errors of the round trip.
    """

    kind: str
    template: str
    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self, *names: str) -> list[Tensor]:
        """Return the arrays `names` in double precision.

        Raises
        ------
        InputError
            When one of them is lacking.
        """
        lacking = [name for name in names if name not in self.tensors]
        if lacking:
            raise InputError(f"weights: {lacking[0]} is lacking, expected {', '.join(names)}")
        return [self.tensors[name].double() for name in names]


def template_hash(template: TetMesh) -> str:
    """Return 16 hexadecimal digits that tell templates apart: tets, and vertices to a picometre."""
    digest = hashlib.sha256()
    for array in ((template.vertices.detach().double() * 1e6).round().long(), template.tets.long()):
        digest.update(array.cpu().numpy().astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def write_weights(path: str | os.PathLike[str], weights: Weights) -> None:
    """Write `weights`, whole or not at all.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    from safetensors.torch import save_file

    header = {
        "kind": weights.kind,
        "format": FORMAT,
        "template": weights.template,
        "about": dict(weights.about),
    }
    tensors = {name: tensor.detach().contiguous() for name, tensor in weights.tensors.items()}
    with replaced_when_written(path) as part:
        save_file(tensors, part, metadata={_HEADER: json.dumps(header, ensure_ascii=False, sort_keys=True)})


def read_weights(path: str | os.PathLike[str], *, kind: str, template: TetMesh) -> Weights:
    """Return the weights in `path`, made for `kind` of model on `template`.

    Raises
    ------
    FileError
        When the file is missing or no file of weights.
    InputError
        When it is of another kind, version or template.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error}); expected weights") from error
    except SafetensorError as error:
        raise FileError(f"{path}: is no safetensors file ({error})") from error
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: has no header of Torrey's; expected weights of a shape model") from error
    for name, found, expected in (
        ("format", header.get("format"), FORMAT),
        ("kind", header.get("kind"), kind),
        ("template", header.get("template"), template_hash(template)),
    ):
        if found != expected:
            raise InputError(f"{path}: weights have {name} {found}, expected {expected}")
    return Weights(kind, header["template"], tensors, header["about"])

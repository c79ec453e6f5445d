"""The canonical shapes that a model is trained on, validated with and tested with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ...mesh import TetMesh, prism
from ..families import AbstractFamily, Mixed, Split

N_HELD_OUT = 1000
"""Shapes that errors are measured on, spread evenly over a split: standard errors below 3 % of the mean."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingData:
    """Canonical vertices (N, V, 3), float32, µm.

    Attributes
    ----------
    family : str
        Name of the family.
    template : TetMesh
        That the shapes are deformations of.
    train, validation : Tensor
        To fit to, and to decide with when to stop.
    test : mapping of str to Tensor
        Shapes never looked at in training, by the family that they are of.
    """

    family: str
    template: TetMesh
    train: Tensor
    validation: Tensor
    test: Mapping[str, Tensor]


def generated(
    family: AbstractFamily,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TrainingData:
    """Return the shapes of `family` with seed 0; at most `limit` to train on, spread evenly over them all."""
    template = prism()
    chosen = {
        "train": _spread(family.split("train"), limit),
        "validation": _spread(family.split("validation"), N_HELD_OUT),
        "test": _spread(family.split("test"), N_HELD_OUT),
    }
    total, shapes = sum(map(len, chosen.values())), dict[str, Tensor]()
    done = 0
    for name, indices in chosen.items():
        shapes[name] = torch.empty(len(indices), template.n_vertices, 3)
        for row, index in enumerate(indices):
            shapes[name][row] = family.sample(index, template=template).canonical
            done += 1
            if progress is not None:
                progress(done, total)
    return TrainingData(
        family=family.name,
        template=template,
        train=shapes["train"],
        validation=shapes["validation"],
        test=_by_member(family, chosen["test"], shapes["test"]),
    )


def stored(folder: str | Path, family: AbstractFamily) -> TrainingData:
    """Return the shapes of the data set in `folder`.

    Raises
    ------
    InputError
        When it is of another family, or one of its splits is empty.
    """
    from ..dataset import open_dataset

    data = open_dataset(folder)
    if data.manifest.family != family.name:
        raise InputError(f"{folder}: holds shapes of {data.manifest.family}, expected {family.name}")

    def positions(split: Split, limit: int | None) -> Tensor:
        found = data.split(split)
        if not len(found):
            raise InputError(f"{folder}: holds no shape of the split {split}, expected some")
        spread: Tensor = found[list(_spread(range(len(found)), limit))]
        return spread

    test = positions("test", N_HELD_OUT)
    return TrainingData(
        family=family.name,
        template=data.template,
        train=data.canonical(positions("train", None)),
        validation=data.canonical(positions("validation", N_HELD_OUT)),
        test=_by_member(family, data.indices[test].tolist(), data.canonical(test)),
    )


def _spread(indices: range, limit: int | None) -> Sequence[int]:
    """Return at most `limit` of `indices`, evenly spread."""
    if limit is None or limit >= len(indices):
        return indices
    return [indices[i * len(indices) // limit] for i in range(limit)]


def _by_member(family: AbstractFamily, indices: Sequence[int], shapes: Tensor) -> dict[str, Tensor]:
    """Return `shapes` by the name of the family that each of `indices` is of."""
    members = [family.member_of(i)[0].name if isinstance(family, Mixed) else family.name for i in indices]
    return {
        name: shapes[[row for row, member in enumerate(members) if member == name]]
        for name in dict.fromkeys(members)
    }

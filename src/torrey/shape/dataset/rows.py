"""The work on a data set that any process can do: a few shapes and their signals."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import AccuracyWarning
from ...mesh import TetMesh
from ..families import AbstractFamily, ShapeSample
from .shard import Arrays

Signals = Callable[[ShapeSample], Tensor]
"""From a shape to its signals (N,), µm³; workers must be able to import it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recipe:
    """What makes the rows of a data set; `template` is the usual one where None."""

    family: AbstractFamily
    seed: int
    template: TetMesh | None
    signals: Signals | None

    def rows(self, indices: list[int]) -> tuple[Arrays, list[str]]:
        """Return the arrays of the shapes `indices`, and what `AccuracyWarning` said of them."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AccuracyWarning)
            records = [self._record(index) for index in indices]
        arrays = {name: np.stack([record[name] for record in records]) for name in records[0]}
        said = []
        for each in caught:
            if issubclass(each.category, AccuracyWarning):
                said.append(str(each.message))
            else:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        return arrays, said

    def _record(self, index: int) -> dict[str, Any]:
        sample = self.family.sample(index, seed=self.seed, template=self.template)
        record: dict[str, Any] = {
            "index": np.int64(index),
            "vertices": sample.vertices.numpy().astype(np.float32),
            "rotation": sample.rotation.numpy(),
            "scale": sample.scale.numpy(),
            "parameters": np.array([sample.parameters.get(name, np.nan) for name in self.family.parameters]),
            "redrawn": np.int64(sample.redrawn),
        }
        if self.signals is not None:
            record["signals"] = self.signals(sample).detach().cpu().numpy().astype(np.float32)
        return record

"""How far predicted vertices are from true ones: what training minimises and validation reports, µm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VertexDistance:
    """The mean distance of each vertex from its own, for shapes whose pose is known."""

    def __call__(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Return the distances (n,) of `predicted` from `true` vertices (n, V, 3)."""
        distances: Tensor = torch.linalg.vector_norm(predicted - true, dim=2).mean(1)
        return distances


@dataclass(frozen=True)
class VertexChamfer:
    """The mean distance to the nearest vertex, both ways and halved, up to point reflection.

    For shapes turned at random. A signal does not say how far an axon is turned about itself nor which of its
    ends is up, and a network that is asked for each vertex by its number answers with the mean of all
    turns, which is thin; this asks for the shape only. It takes V² distances a shape.
    """

    def __call__(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Return the distances (n,) of `predicted` from `true` vertices (n, V, 3), both centred."""
        centred = predicted - predicted.mean(1, keepdim=True)
        true = true - true.mean(1, keepdim=True)
        return torch.minimum(_chamfer(centred, true), _chamfer(-centred, true))


def _chamfer(a: Tensor, b: Tensor) -> Tensor:
    distances = torch.cdist(a, b)
    both: Tensor = (distances.amin(2).mean(1) + distances.amin(1).mean(1)) / 2
    return both

"""Streamlines as they were made: their points, and what their steps were chosen by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Streamlines laid end to end; steps lead away from the seed, to both sides.

    Attributes
    ----------
    points : (P, 3) Tensor
        mm, float64.
    offsets : (S + 1,) Tensor
        Where each begins.
    seed_rows : (S,) Tensor
        Row of `points` that is the seed.
    seed_indices : (S,) Tensor
        Which seed it is.
    before, after : (S, 3) Tensor
        Directions in which the halves towards lower and higher rows began.
    """

    points: Tensor
    offsets: Tensor
    seed_rows: Tensor
    seed_indices: Tensor
    before: Tensor
    after: Tensor

"""The triangles of tets, and which of them are the same."""

from __future__ import annotations

import torch
from torch import Tensor

TET_FACES = ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))
"""Faces of a tet, opposite corners 0, 1, 2, 3, oriented outwards for a tet of positive volume."""


def tet_faces(tets: Tensor) -> Tensor:
    """Return the four faces of each of `tets` (T, 4) as rows (4T, 3), tet by tet."""
    return tets[:, torch.tensor(TET_FACES, device=tets.device)].reshape(-1, 3)


def same_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Give rows (R, k) of indices ≥ 0 the same number where they have the same entries, in any order.

    Returns `(number, counts)`: `number` (R,) indexes `counts`, which says how many rows share it.
    """
    ordered = rows.sort(dim=1).values
    width = int(ordered.max()) + 1 if len(ordered) else 1
    number, counts = ordered[:, 0], ordered.new_empty(0)
    # one column after another: a unique over scalars is several times faster than one over rows, and the
    # product of a row number and a vertex index cannot overflow
    for column in ordered.unbind(1)[1:]:
        _, number, counts = torch.unique(number * width + column, return_inverse=True, return_counts=True)
    return number, counts

"""Shells: the measurements of an acquisition that differ in direction only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .acquisition import Acquisition

_BVAL_GAP = 25.0
"""s/mm². Scanners jitter b within a shell by less; shells lie farther apart."""

_TIME_DIGITS = 3
"""Timings of one shell agree to this many decimals of a ms."""


@dataclass(frozen=True, eq=False)
class Shell:
    """Measurements of one b-value and one pair of timings.

    Attributes
    ----------
    bval : float
        Mean b-value, s/mm².
    small_delta, big_delta : float
        δ and Δ, ms.
    rows : (n,) Tensor of int64
        Which measurements, in the order of the acquisition.
    """

    bval: float
    small_delta: float
    big_delta: float
    rows: Tensor


def shells(acquisition: Acquisition) -> tuple[Shell, ...]:
    """Group measurements into shells, ordered by Δ, δ and b.

    b-values that follow each other within 25 s/mm² belong to one shell.
    """
    times = torch.stack((acquisition.big_delta, acquisition.small_delta), dim=1).detach().cpu()
    pairs, member = times.round(decimals=_TIME_DIGITS).unique(dim=0, return_inverse=True)
    bvals = acquisition.bvals.detach().cpu()
    found: list[Shell] = []
    for k, (Delta, delta) in enumerate(pairs.tolist()):
        rows = (member == k).nonzero()[:, 0]
        rows = rows[bvals[rows].argsort(stable=True)]
        ends = (bvals[rows].diff() > _BVAL_GAP).nonzero()[:, 0] + 1
        found += [
            Shell(float(bvals[group].mean()), delta, Delta, group.sort().values)
            for group in rows.tensor_split(ends)
        ]
    return tuple(found)

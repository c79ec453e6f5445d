"""PGSE measurements as arrays, and each distinct one of them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ...acquisition import Acquisition
from .modes import Array


class Pulses(NamedTuple):
    """Wave vectors `q` (N, 3), rad/(µm ms), and times (N,), ms: δ, Δ, and `lead` before the first pulse."""

    q: Array
    delta: Array
    Delta: Array
    lead: Array

    @classmethod
    def of(cls, acquisition: Acquisition) -> Pulses:
        """Return those of a PGSE `acquisition`, centred in the echo time."""
        acquisition.require_pgse("closed form")
        columns = (
            acquisition.wave_vectors,
            acquisition.small_delta,
            acquisition.big_delta,
            acquisition.echo_time,
        )
        q, delta, Delta, echo = (column.detach().cpu().double().numpy() for column in columns)
        return cls(q, delta, Delta, np.maximum(echo - delta - Delta, 0) / 2)


def of_each_case(value: Callable[..., float], *columns: Array) -> Array:
    """Return `value` (N,) of the rows of `columns`, each (N,), called once for equal rows.

    Directions of a shell repeat the same |q| to rounding; one exponential serves them all.
    """
    keys = np.stack(columns, axis=1)
    rounded = np.array([[float(f"{x:.14g}") for x in key] for key in keys])
    cases, member = np.unique(rounded, axis=0, return_inverse=True)
    return np.array([value(*case) for case in cases.tolist()])[member.ravel()]

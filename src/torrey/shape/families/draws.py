"""Random numbers that are a pure function of what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ...errors import InputError

Value = TypeVar("Value")


class Draws:
    """Numbers drawn for one attempt at the sample `index` of `family` (at most 8 letters) with `seed`.

    The counter-based generator Philox (Salmon et al., SC '11) keyed by seed and family: any worker can make
    any sample, in any order. Only its raw output is used, which NumPy keeps from version to version.
    """

    def __init__(self, family: str, *, seed: int, index: int, attempt: int = 0) -> None:
        if not 0 <= seed < 2**63:
            raise InputError(f"seed: expected 0 … 2⁶³ − 1, got {seed}")
        key = [seed, int.from_bytes(family.encode(), "little")]
        # the stream itself counts in the first word
        self._philox = np.random.Philox(counter=[0, 0, attempt, index], key=key)

    def uniform(self, low: float, high: float) -> float:
        """Return a number, low ≤ number < high."""
        return low + (high - low) * self._unit()

    def among(self, values: Sequence[Value]) -> Value:
        """Return one of `values`, each as likely as the others."""
        return values[int(self._unit() * len(values))]

    def _unit(self) -> float:
        # the 53 bits that a double holds
        return (int(self._philox.random_raw()) >> 11) * 2.0**-53

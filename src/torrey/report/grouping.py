"""Sort measurements by timing, for panels, and by b-value across all timings, for colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .numerals import short, significant


@dataclass(frozen=True, eq=False)
class BvalGroup:
    """Measurements of like b-value: `label` in s/mm² and the indices of its `rows`."""

    label: str
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Timing:
    """Measurements of one (δ, Δ) in ms and the indices of its `rows`."""

    small_delta: float
    big_delta: float
    rows: np.ndarray

    @property
    def label(self) -> str:
        """As a panel title."""
        return f"δ = {significant(self.small_delta)} ms, Δ = {significant(self.big_delta)} ms"


def bval_groups(bvals: np.ndarray) -> list[BvalGroup]:
    """Group `bvals` (N,), s/mm², lowest first; values within 2 % or 5 s/mm² of each other join."""
    if len(bvals) == 0:
        return []
    order = np.argsort(bvals, kind="stable")
    ranked = bvals[order]
    apart = np.diff(ranked) > np.maximum(5.0, 0.02 * ranked[:-1])
    groups = np.split(order, np.flatnonzero(apart) + 1)
    return [BvalGroup(short(_round_b(float(bvals[rows].mean()))), np.sort(rows)) for rows in groups]


def timings(small_delta: np.ndarray, big_delta: np.ndarray) -> list[Timing]:
    """Group measurements by (δ, Δ), ms, equal to a microsecond, in rising order of Δ then δ."""
    pairs = np.round(np.stack([big_delta, small_delta], axis=1), 3)
    unique, member = np.unique(pairs, axis=0, return_inverse=True)
    return [
        Timing(float(delta), float(Delta), np.flatnonzero(member.ravel() == k))
        for k, (Delta, delta) in enumerate(unique)
    ]


def angles_to_axis(bvecs: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the angle (N,), 0 … 90°, between unit directions (N, 3) and the unoriented unit `axis` (3,)."""
    return np.asarray(np.degrees(np.arccos(np.clip(np.abs(bvecs @ axis), 0.0, 1.0))))


def _round_b(bval: float) -> float:
    return round(float(bval), -1) if bval >= 100 else round(float(bval))

"""Round cones: what a ball sweeps on a straight way while its radius changes linearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .swc import Morphology

_THREE_POINT_SOMA = 0.05
"""By how much of the radius the two outer points of a three-point soma may lie off their place."""


@dataclass(frozen=True, eq=False)
class RoundCones:
    """S round cones between balls of radii `r0`, `r1` (S,) about `start`, `end` (S, 3); µm."""

    start: np.ndarray
    end: np.ndarray
    r0: np.ndarray
    r1: np.ndarray

    def distance(self, points: np.ndarray, cone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each of `points` (P, 3), the distance to the surface of its `cone` (P,) and a radius.

        A round cone is the union of balls about c(s) of radius r(s) = r0 − k s, 0 ≤ s ≤ l, so the distance
        is the least of |p − c(s)| − r(s), which is convex in s: with z along the axis and ρ from it, its
        derivative vanishes at s = z − kρ/√(1 − k²). It is negative inside. Where |k| ≥ 1 one ball holds the
        other. The radius is r(s).
        """
        start, r0, r1 = self.start[cone], self.r0[cone], self.r1[cone]
        axis = self.end[cone] - start
        length = np.linalg.norm(axis, axis=1)
        safe = np.where(length > 0, length, 1)
        axis /= safe[:, None]
        k = (r0 - r1) / safe
        away = points - start
        z = (away * axis).sum(1)
        rho = np.linalg.norm(away - z[:, None] * axis, axis=1)
        taper = np.sqrt(np.clip(1 - k**2, 1e-12, None))
        s = np.where(np.abs(k) < 1, z - k * rho / taper, np.where(k > 0, 0, length))
        s = np.clip(s, 0, length)
        radius = r0 - k * s
        return np.hypot(z - s, rho) - radius, radius


def cones_of(morphology: Morphology) -> RoundCones:
    """Return the round cones whose union is a neuron: one for each edge of its tree, and balls of its body.

    A neurite begins at its own radius inside the cell body, whose radius it would otherwise be drawn out
    from. The three points by which NeuroMorpho.org writes a ball (a root and two nodes of its radius, that
    far to both sides; they stand for a cylinder of the ball's area) are that ball.
    """
    position, radius = morphology.positions.numpy(), morphology.radii.numpy()
    parent, soma = morphology.parents.numpy(), morphology.is_soma.numpy()
    outer = _outer_soma_points(position, radius, parent, soma)
    to = np.setdiff1d(np.flatnonzero(parent >= 0), outer)
    start = parent[to]
    r0 = np.where(soma[start] & ~soma[to], radius[to], radius[start])
    r1 = np.where(soma[to] & ~soma[start], radius[start], radius[to])
    balls = np.setdiff1d(np.flatnonzero(soma | (parent < 0)), outer)
    return RoundCones(
        np.concatenate([position[start], position[balls]]),
        np.concatenate([position[to], position[balls]]),
        np.concatenate([r0, radius[balls]]),
        np.concatenate([r1, radius[balls]]),
    )


def _outer_soma_points(
    position: np.ndarray, radius: np.ndarray, parent: np.ndarray, soma: np.ndarray
) -> np.ndarray:
    """Return the two outer rows of a three-point soma, or none."""
    root = int(np.flatnonzero(parent < 0)[0])
    outer = np.flatnonzero(soma & (parent == root))
    if not soma[root] or soma.sum() != 3 or len(outer) != 2:
        return np.empty(0, dtype=np.int64)
    arms = (position[outer] - position[root]) / radius[root]
    off = [np.linalg.norm(arms.sum(0)), *np.abs(np.linalg.norm(arms, axis=1) - 1)]
    same = np.abs(radius[outer] / radius[root] - 1)
    return outer if max(*off, *same) < _THREE_POINT_SOMA else np.empty(0, dtype=np.int64)

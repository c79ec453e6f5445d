r"""The implicit midpoint rule on all nodes, its adjoint and its tangent.

Second order, symmetric in time and stable for every step: with K = S + i q·J and q the mean of the wave
vector over the step h,

    (M + h/2 K) w = M ξ,     ξ ← 2w − ξ.

The adjoint is the same rule with the same factors, run back from stored states; the tangent solves a second
time with each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_array
from torch import Tensor

from ..fem.assembly import PairValues
from ..fem.factorise import factorise
from ..fem.space import FunctionSpace
from .timing import Step

_KEPT_FACTORS = 24
"""Factorisations kept for steps to come: those of a pulse and of pauses come again."""

_SEGMENT = 4_000_000
"""Complex numbers of the states that a backward pass keeps at once: 64 MB."""

Solve = Callable[[np.ndarray], np.ndarray]


class Matrices(NamedTuple):
    """M, S and the three J, sparse, and the wave vectors q (K, 3) of the cells of one measurement."""

    mass: csc_array
    stiffness: csc_array
    moments: list[csc_array]
    q: np.ndarray

    @classmethod
    def of(cls, space: FunctionSpace, values: PairValues, q: Tensor) -> Matrices:
        """Return those with pair `values`; `q` (K, 3)."""
        M, S, *J = (space.matrix(part) for part in (values.mass, values.stiffness, *values.moments))
        return cls(M, S, J, q.cpu().numpy())

    def solver(self) -> Callable[[Step], Solve]:
        """Return step ↦ (x ↦ (M + h/2 K)⁻¹x); K of the opposite gradient is the conjugate."""

        @lru_cache(maxsize=_KEPT_FACTORS)
        def factor(h: float, *q: float) -> Solve:
            turning = sum(part * J for part, J in zip(q, self.moments, strict=True))
            return factorise(csc_array(self.mass + h / 2 * self.stiffness + 0.5j * h * turning))

        def of(step: Step) -> Solve:
            q = step.scale * self.q[step.cell]
            opposite = bool(q[np.abs(q).argmax()] < 0)
            solve = factor(step.length, *np.where(opposite, -q, q).tolist())
            return (lambda x: solve(x.conj()).conj()) if opposite else solve

        return of


def midpoint_run(
    matrices: Matrices, steps: list[Step], *, keep: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return Mξ (nodes,) after all `steps`, and ξ before every `keep`-th step."""
    solver = matrices.solver()
    state = np.ones(matrices.mass.shape[0], dtype=complex)
    kept = []
    for j, step in enumerate(steps):
        if keep is not None and j % keep == 0:
            kept.append(state)
        state = 2 * solver(step)(matrices.mass @ state) - state
    return matrices.mass @ state, [*kept, state]


def midpoint_tangent(matrices: Matrices, change: Matrices, steps: list[Step]) -> np.ndarray:
    """Return what `change` of the matrices and of q makes of Mξ (nodes,) after all `steps`."""
    solver = matrices.solver()
    state = np.ones(matrices.mass.shape[0], dtype=complex)
    moved = np.zeros_like(state)
    for step in steps:
        solve = solver(step)
        middle = solve(matrices.mass @ state)
        q, q_change = (step.scale * part.q[step.cell] for part in (matrices, change))
        turned = sum(d * (J @ middle) for d, J in zip(q_change, matrices.moments, strict=True))
        turned = turned + sum(d * (J @ middle) for d, J in zip(q, change.moments, strict=True))
        force = change.mass @ (state - middle) + matrices.mass @ moved
        force = force - step.length / 2 * (change.stiffness @ middle + 1j * turned)
        state, moved = 2 * middle - state, 2 * solve(force) - moved
    slope: np.ndarray = matrices.mass @ moved + change.mass @ state
    return slope


class Slope(NamedTuple):
    """Derivative of an integral in pair values of M, S (Z,) and the J (3, Z), and in q (K, 3), complex."""

    mass: np.ndarray
    stiffness: np.ndarray
    moments: np.ndarray
    q: np.ndarray


def midpoint_adjoint(matrices: Matrices, steps: list[Step], pairs: np.ndarray, weights: np.ndarray) -> Slope:
    """Return the derivative of wᵀMξ, `weights` w (nodes,), keeping states of a segment of steps at a time."""
    n_nodes = matrices.mass.shape[0]
    length = max(1, min(len(steps), _SEGMENT // (3 * n_nodes)))
    _, kept = midpoint_run(matrices, steps, keep=length)
    *starts, end = kept
    solver = matrices.solver()
    slope = Slope(
        _at_pairs(pairs, weights, end),
        np.zeros(len(pairs), complex),
        np.zeros((3, len(pairs)), complex),
        np.zeros(matrices.q.shape, complex),
    )
    adjoint = matrices.mass @ weights
    for segment in reversed(range(len(starts))):
        part = steps[segment * length : (segment + 1) * length]
        state, states, middles = starts[segment], [], []
        for step in part:
            states.append(state)
            middles.append(solver(step)(matrices.mass @ state))
            state = 2 * middles[-1] - state
        for step, before, middle in zip(reversed(part), reversed(states), reversed(middles), strict=True):
            z = solver(step)(adjoint)
            adjoint = 2 * (matrices.mass @ z) - adjoint
            # of ds = 2 zᵀ(dM (ξ − w) − h/2 (dS + i d(q·J)) w)
            slope.mass[:] += _at_pairs(pairs, 2 * z, before - middle)
            pulled = _at_pairs(pairs, -step.length * z, middle)
            slope.stiffness[:] += pulled
            slope.moments[:] += 1j * step.scale * matrices.q[step.cell][:, None] * pulled
            turned = [z @ (J @ middle) for J in matrices.moments]
            slope.q[step.cell] += -1j * step.length * step.scale * np.array(turned)
    return slope


def _at_pairs(pairs: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the derivative (Z,) of leftᵀ A right, (nodes,) each, in the pair values of A."""
    i, j = pairs.T
    values: np.ndarray = left[i] * right[j] + np.where(i == j, 0, left[j] * right[i])
    return values

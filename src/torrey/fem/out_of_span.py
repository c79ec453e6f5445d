r"""Change of eigenvectors outside the span of the kept ones, and its adjoint.

For each kept mode j, x_j solves (S − λⱼM) x = r on the M-orthogonal complement of the kept modes. The modes
computed above the cut are treated exactly; on the rest the matrix is positive definite, and conjugate
gradients preconditioned by the factorisation of S − σM that the eigen-solve used converge in some ten steps,
all modes at once. For slow modes, λⱼ far below all of the rest, that factorisation almost solves it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from ..errors import ConvergenceError
from .eigenmodes import Eigenmodes

OutOfSpan = Literal["none", "slow", "all"]
"""Modes whose change outside the span of the kept ones a derivative has."""

_TOLERANCE = 1e-9
"""Residual over right-hand side, in the preconditioner's norm; the gradient's error is of this order."""

_MOST_STEPS = 200

_SLOW = 0.2
"""Rates over the first one above the cut up to which a mode is slow: about a sixth of the modes, which carry
the signal."""


class Outside(NamedTuple):
    """The first `n_modes` change outside the span, as `solve` finds it."""

    n_modes: int
    solve: Callable[[Eigenmodes, np.ndarray], np.ndarray]

    @classmethod
    def of(cls, modes: Eigenmodes, which: OutOfSpan) -> Outside | None:
        """Return None where no mode does."""
        if which == "none" or modes.complete:
            return None
        if which == "all":
            return cls(modes.n_modes, solve_out_of_span)
        n_slow = int(np.searchsorted(modes.values[: modes.n_modes], _SLOW * modes.next_value))
        return cls(n_slow, refine_out_of_span)


def solve_out_of_span(modes: Eigenmodes, force: np.ndarray) -> np.ndarray:
    """Return X (nodes, k) with (S − λⱼM) xⱼ = rⱼ outside the span of the n kept modes.

    Parameters
    ----------
    modes : Eigenmodes
        The kept modes and the ones above the cut.
    force : (nodes, k) ndarray
        Right-hand sides rⱼ for the first k ≤ n modes; their component along the kept modes is dropped.

    Raises
    ------
    ConvergenceError
        When conjugate gradients do not reach the tolerance.
    """
    solution, rest = _above_the_cut(modes, force), _Rest.of(modes)
    if not rest.empty:
        solution += _deflated_cg(rest, force)
    return solution


def refine_out_of_span(modes: Eigenmodes, force: np.ndarray) -> np.ndarray:
    """Return X of `solve_out_of_span` for `force` (nodes, k) on slow modes, by two solves for each.

    Beyond the modes above the cut the error is (λⱼ − σ)²/(λ − σ)², at most 4 %; the result is symmetric and
    linear in `force`, so that derivatives of reverse and of forward mode agree.
    """
    solution, rest = _above_the_cut(modes, force), _Rest.of(modes)
    if not rest.empty:
        residual = rest.project(force)
        first = rest.precondition(residual)
        solution += first + rest.precondition(residual - rest.apply(first, modes.values[: force.shape[1]]))
    return solution


def _above_the_cut(modes: Eigenmodes, force: np.ndarray) -> np.ndarray:
    """Return the part of the solution along the modes that were computed and not kept."""
    n, k = modes.n_modes, force.shape[1]
    above = modes.vectors[:, n:]
    part: np.ndarray = above @ ((above.T @ force) / (modes.values[n:, None] - modes.values[:k]))
    return part


class _Rest(NamedTuple):
    """What is M-orthogonal to all computed modes, with Mφ of those in `weighted`."""

    modes: Eigenmodes
    weighted: np.ndarray

    @classmethod
    def of(cls, modes: Eigenmodes) -> _Rest:
        return cls(modes, modes.mass @ modes.vectors)

    @property
    def empty(self) -> bool:
        return len(self.modes.values) == len(self.weighted)

    def project(self, force: np.ndarray) -> np.ndarray:
        projected: np.ndarray = force - self.weighted @ (self.modes.vectors.T @ force)
        return projected

    def precondition(self, residual: np.ndarray) -> np.ndarray:
        direction = self.modes.solve(residual)
        projected: np.ndarray = direction - self.modes.vectors @ (self.weighted.T @ direction)
        return projected

    def apply(self, states: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """Return (S − λⱼM) xⱼ."""
        image: np.ndarray = self.modes.stiffness @ states - (self.modes.mass @ states) * rates
        return image


def _deflated_cg(rest: _Rest, force: np.ndarray) -> np.ndarray:
    rates = rest.modes.values[: force.shape[1]]
    residual = rest.project(force)
    solution = np.zeros_like(force)
    direction = rest.precondition(residual)
    step = direction.copy()
    energy = np.einsum("ij,ij->j", residual, direction)
    goal = _TOLERANCE**2 * energy.max()
    active = np.flatnonzero(energy > goal)
    residual, step, energy = residual[:, active], step[:, active], energy[active]
    for _ in range(_MOST_STEPS):
        if len(active) == 0:
            return solution
        image = rest.apply(step, rates[active])
        length = energy / np.einsum("ij,ij->j", step, image)
        solution[:, active] += length * step
        residual = residual - length * image
        direction = rest.precondition(residual)
        new_energy = np.einsum("ij,ij->j", residual, direction)
        step = direction + new_energy / energy * step
        running = new_energy > goal
        active, energy = active[running], new_energy[running]
        residual, step = residual[:, running], step[:, running]
    raise ConvergenceError(
        f"out-of-span solve: {len(active)} of {force.shape[1]} modes above tolerance {_TOLERANCE:g} "
        f"after {_MOST_STEPS} steps"
    )

r"""Adjoint of the change of eigenvectors outside the span of the kept ones.

For each kept mode j, x_j solves (S − λⱼM) x = r on the M-orthogonal complement of the kept modes. The modes
computed above the cut are treated exactly; on the rest the matrix is positive definite, and conjugate
gradients preconditioned by the factorisation of S − σM that the eigen-solve used converge in some ten steps,
all modes at once.
"""

from __future__ import annotations

import numpy as np

from ..errors import ConvergenceError
from .eigenmodes import Eigenmodes

_TOLERANCE = 1e-9
"""Residual over right-hand side, in the preconditioner's norm; the gradient's error is of this order."""

_MOST_STEPS = 200


def solve_out_of_span(modes: Eigenmodes, force: np.ndarray) -> np.ndarray:
    """Return X (nodes, n) with (S − λⱼM) xⱼ = rⱼ outside the span of the kept modes.

    Parameters
    ----------
    modes : Eigenmodes
        n kept modes and the ones above the cut.
    force : (nodes, n) ndarray
        Right-hand sides rⱼ; their component along the kept modes is dropped.

    Raises
    ------
    ConvergenceError
        When conjugate gradients do not reach the tolerance.
    """
    n = modes.n_modes
    rates = modes.values[:n]
    above = modes.vectors[:, n:]
    weights = above.T @ force
    solution: np.ndarray = above @ (weights / (modes.values[n:, None] - rates))
    if modes.vectors.shape[1] < modes.mass.shape[0]:
        solution += _deflated_cg(modes, force, rates)
    return solution


def _deflated_cg(modes: Eigenmodes, force: np.ndarray, rates: np.ndarray) -> np.ndarray:
    known, mass, stiffness = modes.vectors, modes.mass, modes.stiffness
    weighted = mass @ known

    def precondition(residual: np.ndarray) -> np.ndarray:
        direction = modes.solve(residual)
        projected: np.ndarray = direction - known @ (weighted.T @ direction)
        return projected

    residual = force - weighted @ (known.T @ force)
    solution = np.zeros_like(force)
    direction = precondition(residual)
    step = direction.copy()
    energy = np.einsum("ij,ij->j", residual, direction)
    goal = _TOLERANCE**2 * energy.max()
    active = np.flatnonzero(energy > goal)
    residual, step, energy = residual[:, active], step[:, active], energy[active]
    for _ in range(_MOST_STEPS):
        if len(active) == 0:
            return solution
        image = stiffness @ step - (mass @ step) * rates[active]
        length = energy / np.einsum("ij,ij->j", step, image)
        solution[:, active] += length * step
        residual = residual - length * image
        direction = precondition(residual)
        new_energy = np.einsum("ij,ij->j", residual, direction)
        step = direction + new_energy / energy * step
        running = new_energy > goal
        active, energy = active[running], new_energy[running]
        residual, step = residual[:, running], step[:, running]
    raise ConvergenceError(
        f"out-of-span solve: {len(active)} of {force.shape[1]} modes above tolerance {_TOLERANCE:g} "
        f"after {_MOST_STEPS} steps"
    )

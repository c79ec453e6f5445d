r"""Levenberg–Marquardt: damped Gauss–Newton steps from the exact Jacobian.

Minimises ½|F(x)|² by x ← x − (JᵀJ + μG)⁻¹JᵀF. The damping measures a step by the surface displacement it causes, G,
not by the numbers of the latent. μ follows the ratio of actual to predicted gain (Nielsen, IMM-REP-1999-05). A trial
that is not admissible (a fold) counts as one without gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST_DAMPING = 1e-2
_LARGEST_DAMPING = 1e12


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt:
    """Settings of the method.

    Parameters
    ----------
    max_iterations : int
        Jacobians at most, each stage.
    gain_tolerance : float
        Stop when an accepted step lowers ½|F|² by less than this fraction of it, or by less than `negligible`.
    negligible : float
        A gain in ½|F|² that means nothing: with residuals in standard deviations, a change of log-likelihood.
    """

    max_iterations: int = 30
    gain_tolerance: float = 1e-3
    negligible: float = 0.02


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """A problem for `minimise`.

    Attributes
    ----------
    residual : callable
        x (P,) → F (M,).
    linearise : callable
        x (P,) → F (M,), J (M, P), G (P, P).
    admissible : callable
        x (P,) → whether x may be evaluated.
    """

    residual: Callable[[Tensor], Tensor]
    linearise: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    admissible: Callable[[Tensor], bool]


def minimise(
    problem: LeastSquares,
    start: Tensor,
    settings: LevenbergMarquardt,
    *,
    accepted: Callable[[Tensor, Tensor], bool],
) -> tuple[Tensor, str]:
    """Minimise ½|F|² from `start` (P,); return the last accepted x (P,) and why it stopped.

    `accepted` is called with every accepted x and its F; it may stop the search by returning True.
    """
    x, damping, growth = start, None, 2.0
    for iteration in range(settings.max_iterations):
        residual, jacobian, metric = problem.linearise(x)
        if iteration == 0 and accepted(x, residual):
            return x, "within the noise at the start"
        cost = residual.square().sum() / 2
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ residual
        scale = float((normal.diagonal() / metric.diagonal()).max())
        damping = _FIRST_DAMPING * scale if damping is None else damping
        while True:
            step = -torch.linalg.solve(normal + damping * metric, gradient)
            predicted = -(gradient @ step) - (step @ normal @ step) / 2
            if float(predicted) < 0.1 * settings.negligible:
                return x, "no further gain predicted"
            trial = x + step
            gain = -1.0
            if problem.admissible(trial):
                trial_residual = problem.residual(trial)
                trial_cost = trial_residual.square().sum() / 2
                gain = float((cost - trial_cost) / predicted)
            if gain > 0:
                break
            damping, growth = damping * growth, growth * 2
            if damping > _LARGEST_DAMPING * scale:
                return x, "no step lowers the misfit"
        damping *= max(1 / 10, 1 - (2 * gain - 1) ** 3)
        growth = 2.0
        x = trial
        if accepted(x, trial_residual):
            return x, "within the noise"
        if float(cost - trial_cost) < max(settings.gain_tolerance * float(cost), settings.negligible):
            return x, "converged"
    return x, "iteration limit"

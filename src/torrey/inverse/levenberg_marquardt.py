r"""Levenberg–Marquardt: damped Gauss–Newton steps from the exact Jacobian.

Minimises ½|F(x)|² by x ← x − (JᵀJ + μG)⁻¹JᵀF. The damping measures a step by the displacement it causes, G,
not by the numbers of the latent. μ follows the ratio of actual to predicted gain (Nielsen, IMM-REP-1999-05).
A trial that is not admissible (a fold) counts as one without gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_FIRST_DAMPING = 1e-2
_LARGEST_DAMPING = 1e12

_SMALL_STEPS = 2
"""One small gain can come from a step cut short by a fold or by damping."""


@dataclass(frozen=True, kw_only=True)
class LevenbergMarquardt:
    """Settings of the method.

    Parameters
    ----------
    max_iterations : int
        Jacobians at most, each stage.
    gain_tolerance : float
        A step that lowers ½|F|² by less than this fraction of it, or by less than `negligible`, counts as
        small; two small ones in a row end the search.
    negligible : float
        A gain in ½|F|² that means nothing: with residuals in standard deviations, a change of log-likelihood.
    """

    max_iterations: int = 30
    gain_tolerance: float = 1e-2
    negligible: float = 0.1


class Point(Protocol):
    """A least-squares problem at one x."""

    @property
    def residual(self) -> Tensor:
        """F (M,)."""

    def linearise(self) -> tuple[Tensor, Tensor]:
        """Return J (M, P) and G (P, P)."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """A problem for `minimise`.

    Attributes
    ----------
    evaluate : callable
        x (P,) → `Point`, so that an accepted trial is not evaluated again for its Jacobian.
    admissible : callable
        x (P,) → whether x may be evaluated.
    """

    evaluate: Callable[[Tensor], Point]
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
    x, point = start, problem.evaluate(start)
    damping, growth, small_steps = None, 2.0, 0
    if accepted(x, point.residual):
        return x, "within the noise at the start"
    for _ in range(settings.max_iterations):
        jacobian, metric = point.linearise()
        cost = point.residual.square().sum() / 2
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ point.residual
        scale = float((normal.diagonal() / metric.diagonal()).max())
        damping = _FIRST_DAMPING * scale if damping is None else damping
        held = False
        while True:
            step = -torch.linalg.solve(normal + damping * metric, gradient)
            predicted = -(gradient @ step) - (step @ normal @ step) / 2
            if float(predicted) < 0.1 * settings.negligible:
                return x, "held by a fold" if held else "no further gain predicted"
            gain = -1.0
            held = not problem.admissible(x + step)
            if not held:
                trial = problem.evaluate(x + step)
                decrease = cost - trial.residual.square().sum() / 2
                gain = float(decrease / predicted)
            if gain > 0:
                break
            damping, growth = damping * growth, growth * 2
            if damping > _LARGEST_DAMPING * scale:
                return x, "no step lowers the misfit"
        damping *= max(1 / 10, 1 - (2 * gain - 1) ** 3)
        growth = 2.0
        x, point = x + step, trial
        if accepted(x, point.residual):
            return x, "within the noise"
        small = float(decrease) < max(settings.gain_tolerance * float(cost), settings.negligible)
        small_steps = small_steps + 1 if small else 0
        if small_steps == _SMALL_STEPS:
            return x, "converged"
    return x, "iteration limit"

r"""Levenberg–Marquardt with corrected steps: damped Gauss–Newton.

Minimises ½|F(x)|² by steps s with JᵀF(x + s) + μGs = 0, J the Jacobian at x (or near it: where
modes are held fixed it is that of a neighbouring problem). Its first iterate from s = 0 is
the usual step −(JᵀJ + μG)⁻¹JᵀF(x). Volume and length are known so much better than the rest of a shape that
such a step leaves their curved valley and gains nothing unless it is short; repeating it with F at its end
and J held goes back to the valley floor for one evaluation, without a Jacobian (Fan, Math. Comp. 81 (2012)
447, takes one such correction always). The damping measures a step by the displacement it causes, G, not by
the numbers of the latent. A trial that is not admissible (a fold) counts as one without gain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

_FIRST_DAMPING = 1e-3
_LARGEST_DAMPING = 1e12

_SMALL_STEPS = 2
"""One small gain can come from a step cut short by a fold or by damping."""

_AS_PREDICTED = 0.75
"""Share of the predicted gain above which a step needs no correction."""

_MOST_CORRECTIONS = 3

_CONTRACTION = 0.75
"""A correction longer than this much of the one before will not converge."""

_EASING = (10.0, 5.0, 1.0, 0.5)
"""By what the damping is divided after a step as good as predicted with 0, 1, ... corrections."""


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
    negligible: float = 1.0


class Point(Protocol):
    """A least-squares problem at one x."""

    @property
    def x(self) -> Tensor:
        """Where (P,)."""

    @property
    def residual(self) -> Tensor:
        """F (M,)."""

    def linearise(self) -> tuple[Tensor, Tensor]:
        """Return J (M, P) and G (P, P)."""


AnyPoint = TypeVar("AnyPoint", bound=Point)


@dataclass(frozen=True, eq=False)
class LeastSquares(Generic[AnyPoint]):
    """A problem for `minimise`.

    Attributes
    ----------
    evaluate : callable
        x (P,) → `Point`, so that an accepted trial is not evaluated again for its Jacobian.
    admissible : callable
        x (P,) → whether x may be evaluated.
    """

    evaluate: Callable[[Tensor], AnyPoint]
    admissible: Callable[[Tensor], bool]


def minimise(
    problem: LeastSquares[AnyPoint],
    start: Tensor,
    settings: LevenbergMarquardt,
    *,
    accepted: Callable[[AnyPoint], bool],
) -> tuple[AnyPoint, str]:
    """Minimise ½|F|² from `start` (P,); return the last accepted point and why it stopped.

    `accepted` is called with every accepted point; it may stop the search by returning True.
    """
    point = problem.evaluate(start)
    damping, small_steps = None, 0
    if accepted(point):
        return point, "within the noise at the start"
    for _ in range(settings.max_iterations):
        system = _Linearised.at(point)
        damping = _FIRST_DAMPING * system.scale if damping is None else damping
        growth = 2.0
        while True:
            step, predicted = system.damped_step(damping)
            if predicted < 0.1 * settings.negligible:
                return point, "no further gain predicted"
            trial = _follow(problem, system, step, predicted, damping)
            if trial is not None and trial.decrease > 0:
                break
            damping, growth = damping * growth, growth * 2
            if damping > _LARGEST_DAMPING * system.scale:
                return point, "no step lowers the misfit"
        if trial.decrease > _AS_PREDICTED * predicted:
            damping /= _EASING[trial.corrections]
        elif trial.decrease < predicted / 4:
            damping *= 2
        point = trial.point
        if accepted(point):
            return point, "within the noise"
        small = trial.decrease < max(settings.gain_tolerance * system.cost, settings.negligible)
        small_steps = small_steps + 1 if small else 0
        if small_steps == _SMALL_STEPS:
            return point, "converged"
    return point, "iteration limit"


@dataclass(frozen=True, eq=False)
class _Linearised:
    """F, J and G at x, and the products that steps of any damping share."""

    x: Tensor
    residual: Tensor
    jacobian: Tensor
    metric: Tensor
    normal: Tensor
    cost: float

    @classmethod
    def at(cls, point: Point) -> _Linearised:
        J, metric = point.linearise()
        return cls(point.x, point.residual, J, metric, J.T @ J, float(point.residual.square().sum() / 2))

    @property
    def scale(self) -> float:
        """The damping that would rule every direction."""
        return float((self.normal.diagonal() / self.metric.diagonal()).max())

    def damped_step(self, damping: float) -> tuple[Tensor, float]:
        """Return the step (P,) for `damping`, and by how much the linear model says it lowers ½|F|²."""
        gradient = self.jacobian.T @ self.residual
        step = self.solve(damping, -gradient)
        return step, float(-(gradient @ step) - (step @ self.normal @ step) / 2)

    def solve(self, damping: float, right: Tensor) -> Tensor:
        """Return (JᵀJ + μG)⁻¹ `right` (P,)."""
        solution: Tensor = torch.linalg.solve(self.normal + damping * self.metric, right)
        return solution

    def length(self, step: Tensor) -> float:
        """Return the displacement that `step` (P,) causes."""
        return float((step @ self.metric @ step).clamp(min=0).sqrt())


class _Trial(NamedTuple, Generic[AnyPoint]):
    """Where a step ends."""

    point: AnyPoint
    decrease: float
    corrections: int


def _follow(
    problem: LeastSquares[AnyPoint], system: _Linearised, step: Tensor, predicted: float, damping: float
) -> _Trial[AnyPoint] | None:
    """Take `step`, correct it until it gains about what is predicted, and return the best point met."""
    best: _Trial[AnyPoint] | None = None
    length = system.length(step)
    for corrections in range(_MOST_CORRECTIONS + 1):
        x = system.x + step
        if not problem.admissible(x):
            return best
        point = problem.evaluate(x)
        decrease = system.cost - float(point.residual.square().sum() / 2)
        if best is None or decrease > best.decrease:
            best = _Trial(point, decrease, corrections)
        if decrease > _AS_PREDICTED * predicted:
            return best
        slope = system.jacobian.T @ point.residual + damping * (system.metric @ step)
        turn = system.solve(damping, -slope)
        before, length = length, system.length(turn)
        if length > _CONTRACTION * before:
            return best
        step = step + turn
    return best

"""What a fit minimises: residuals in standard deviations, and those of the prior."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..autodiff import jacobian
from ..shape import AbstractShape
from .forward import ForwardModel, Prediction
from .levenberg_marquardt import LeastSquares

_GAUGE = 0.1
"""Looseness, µm and relative speed, of what no signal sees."""

_IMMOBILE = 1e-6
"""Share of the mean square displacement that a change of the prior counts for in the length of a step. A
learned latent has parameters that hardly move the shape: only the prior sees them, and a damping that rules
them, measured by displacement alone, would rule all others too."""

_BARRIER = 0.05
"""Looseness of the barrier before a fold, in (rκ)²."""


def prior(shape: AbstractShape, latent: Tensor) -> Tensor:
    """Return the residuals (·,) of the prior: even speed, smoothness, and distance from a fold."""
    return torch.cat(
        [
            shape.gauge(latent) / _GAUGE,
            shape.roughness(latent),
            shape.fold_barrier(latent) / _BARRIER,
        ]
    )


def penalised_least_squares(
    model: ForwardModel, target: Tensor, unit: float
) -> LeastSquares[PenalisedPrediction]:
    """Return the problem ½|(S(z) − `target`)/`unit`|² + ½|prior(z)|², `target` (N,) and `unit` as signals."""
    return LeastSquares(lambda latent: PenalisedPrediction(model.at(latent), target, unit), model.admissible)


@dataclass(frozen=True, eq=False)
class PenalisedPrediction:
    """A prediction as a point of `penalised_least_squares`."""

    prediction: Prediction
    target: Tensor
    unit: float

    @property
    def x(self) -> Tensor:
        """The latent (P,)."""
        return self.prediction.latent

    @property
    def residual(self) -> Tensor:
        """F (N + ·,): data over their unit, then the prior."""
        data = (self.prediction.predicted - self.target) / self.unit
        return torch.cat([data, prior(self.prediction.model.shape, self.prediction.latent)])

    def linearise(self) -> tuple[Tensor, Tensor]:
        """Return J (N + ·, P) and the metric (P, P): of displacements, and a little of the prior."""
        at, shape = self.prediction.linearise(), self.prediction.model.shape
        slope = jacobian(lambda latent: prior(shape, latent), self.prediction.latent)
        displacement, change = at.metric, slope @ slope.T
        # a cylinder has no prior
        share = _IMMOBILE * displacement.trace() / change.trace().clamp(min=1e-12)
        return torch.cat([at.jacobian / self.unit, slope.T]), displacement + share * change

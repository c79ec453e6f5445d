"""One start of a reconstruction, from a first latent through all stages to the best one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..shape import AbstractShape
from ..signal.tissue import Tissue
from .adam import Adam, descend
from .forward import ForwardModel, Prediction
from .levenberg_marquardt import LeastSquares, LevenbergMarquardt, minimise
from .measurement import Measurement
from .stages import Stage

Report = Callable[[str, int, float], None]
"""Called with stage, iteration and misfit over S(0) of every accepted iterate."""

ORDER = 2
"""Second-order elements: a tube of 500 nodes is then within 2e-4 of the smooth one
(`benchmarks/accuracy.py`)."""

FINE_SCALE = 1.2
"""Length scale, µm, of the modes with which the final prediction is made."""

FINE_MODES = 180
"""Modes at most in the final prediction."""

MODEL_FLOOR = 5e-5
"""Error over S(0) that the forward model is never believed to beat."""

_GAUGE = 0.1
"""Looseness, µm and relative speed, of what no signal sees."""

_BARRIER = 0.05
"""Looseness of the barrier before a fold, in (rκ)²."""

_CORRECTIONS = 3

_NOISY, _NOISY_COARSENING = 5e-3, 1.25
"""σ over S(0) above which modes are resolved to a length scale coarser by this factor: their error, about 1e-3 before
it is corrected, then stays far below the noise."""

_STILL = 0.3
"""Change of the correction over σ that means nothing."""


@dataclass(frozen=True, eq=False)
class Fit:
    """The end of one start.

    Attributes
    ----------
    latent : (P,) Tensor
        In the last stage's shape.
    predicted : (N,) Tensor
        By the fine model, in the unit of the measurement.
    misfit : float
        Root mean square of predicted − measured over S(0).
    cost : float
        ½χ² + prior with the noise (or the smallest believed error), by which starts are compared.
    model : ForwardModel
        The last stage's.
    model_sigma : float
        rms difference of the two over S(0): the error of the mesh the fit used.
    reason : str
        Why it stopped.
    """

    latent: Tensor
    predicted: Tensor
    misfit: float
    cost: float
    model: ForwardModel
    model_sigma: float
    reason: str


def fit_start(
    sequence: tuple[Stage, ...],
    finest: AbstractShape,
    latent: Tensor,
    *,
    measurement: Measurement,
    tissue: Tissue,
    optimiser: LevenbergMarquardt | Adam,
    report: Report,
) -> Fit:
    """Fit from `latent`, a latent of the first stage's shape, through all stages."""
    before, unexplained = sequence[0].shape, 0.0
    for stage in sequence[:-1]:
        latent = stage.carry(before, latent)
        before = stage.shape
        rows = measurement.acquisition.bvals <= stage.max_bval
        model = _model(stage, latent, measurement, tissue).measuring(rows)
        sigma = max(stage.sigma, unexplained if measurement.sigma is None else measurement.sigma)
        target = measurement.signal[rows]
        latent, _ = _optimise(
            model,
            latent,
            target,
            measurement=measurement,
            sigma=sigma,
            optimiser=_hurried(optimiser),
            stage=stage.name,
            report=report,
        )
        # where the noise is not known, what a stage could not explain stands for it in the next
        unexplained = _misfit(model.predict(latent), target, measurement)
    last = sequence[-1]
    latent = last.carry(before, latent)
    model, fine = (_model(stage, latent, measurement, tissue) for stage in (last, _finest(last, finest)))
    sigma = max(MODEL_FLOOR, unexplained if measurement.sigma is None else measurement.sigma)
    return _corrected(
        last.name,
        model,
        fine,
        latent,
        measurement=measurement,
        sigma=sigma,
        optimiser=optimiser,
        report=report,
    )


def _hurried(optimiser: LevenbergMarquardt | Adam) -> LevenbergMarquardt | Adam:
    """Stop earlier in a stage whose answer is only the start of the next."""
    if isinstance(optimiser, Adam):
        return optimiser
    return replace(optimiser, gain_tolerance=max(0.05, optimiser.gain_tolerance), negligible=1.0)


def _last_models(
    last: Stage,
    finest: AbstractShape,
    latent: Tensor,
    measurement: Measurement,
    tissue: Tissue,
    *,
    noisy: bool,
) -> tuple[ForwardModel, ForwardModel]:
    """Return the model to fit with and the fine one that corrects it.

    How many modes a length scale takes is a matter of the shape, so both counts are taken from the cheap mesh.
    """
    coarser = _NOISY_COARSENING if noisy else 1.0
    fine_scale = replace(last, length_scale=FINE_SCALE * coarser, most_modes=FINE_MODES)
    resolved = _model(fine_scale, latent, measurement, tissue)
    model = _model(replace(last, length_scale=last.length_scale * coarser), latent, measurement, tissue)
    return model, replace(resolved, shape=finest)


def _corrected(
    stage: str,
    model: ForwardModel,
    fine: ForwardModel,
    latent: Tensor,
    *,
    measurement: Measurement,
    sigma: float,
    optimiser: LevenbergMarquardt | Adam,
    report: Report,
) -> Fit:
    """Fit the cheap model plus its difference from the fine one, until that difference stands still.

    Defect correction: the answer is the fine model's, every Jacobian the cheap one's.
    """
    difference = fine.predict(latent) - model.predict(latent)
    # first-order descent is run once, as published: it is too slow to be started again
    for _ in range(_CORRECTIONS if isinstance(optimiser, LevenbergMarquardt) else 1):
        target = measurement.signal - difference
        accepted, reason = _optimise(
            model,
            latent,
            target,
            measurement=measurement,
            sigma=sigma,
            optimiser=optimiser,
            stage=stage,
            report=report,
        )
        if not fine.admissible(accepted):
            reason = "the next step folds on the fine mesh"
            break
        latent = accepted
        cheap, before = model.predict(latent), difference
        difference = fine.predict(latent) - cheap
        change = float((difference - before).square().mean().sqrt()) / measurement.reference
        if change < _STILL * sigma and method is optimiser:
            break
        method = optimiser
        if measurement.sigma is None:
            sigma = max(MODEL_FLOOR, min(sigma, _misfit(cheap + difference, measurement.signal, measurement)))
    predicted = model.predict(latent) + difference
    misfit = _misfit(predicted, measurement.signal, measurement)
    chi_square = len(predicted) * (misfit / max(MODEL_FLOOR, measurement.sigma or 0.0)) ** 2
    cost = (chi_square + float(_prior(fine.shape, latent).square().sum())) / 2
    model_sigma = float(difference.square().mean().sqrt()) / measurement.reference
    return Fit(latent, predicted, misfit, cost, model, model_sigma, reason)


def _model(stage: Stage, latent: Tensor, measurement: Measurement, tissue: Tissue) -> ForwardModel:
    return ForwardModel.resolving(
        stage.shape,
        latent,
        stage.length_scale,
        most_modes=stage.most_modes,
        tissue=tissue,
        acquisition=measurement.acquisition,
        normalised=measurement.normalised,
        order=ORDER,
    )


def _optimise(
    model: ForwardModel,
    latent: Tensor,
    target: Tensor,
    *,
    measurement: Measurement,
    sigma: float,
    optimiser: LevenbergMarquardt | Adam,
    stage: str,
    report: Report,
) -> tuple[Tensor, str]:
    unit = sigma * measurement.reference
    iteration = 0

    def note(misfit: float) -> None:
        nonlocal iteration
        report(stage, iteration, misfit)
        iteration += 1

    if isinstance(optimiser, Adam):

        def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
            loss, slope = model.misfit_gradient(x, target)
            return loss / measurement.reference**2, slope / measurement.reference**2

        def within_noise(_: Tensor, loss: Tensor) -> bool:
            note(float(loss) ** 0.5)
            return float(loss) <= (measurement.sigma or MODEL_FLOOR) ** 2

        return descend(gradient, model.admissible, latent, optimiser, accepted=within_noise)

    def accept(_: Tensor, residual: Tensor) -> bool:
        note(float(residual[: len(target)].square().mean().sqrt()) * sigma)
        return False

    problem = LeastSquares(lambda x: _Penalised(model.at(x), target, unit), model.admissible)
    return minimise(problem, latent, optimiser, accepted=accept)


@dataclass(frozen=True, eq=False)
class _Penalised:
    """Residuals in standard deviations, then those of the prior."""

    prediction: Prediction
    target: Tensor
    unit: float

    @property
    def residual(self) -> Tensor:
        prior = _prior(self.prediction.model.shape, self.prediction.latent)
        return torch.cat([(self.prediction.predicted - self.target) / self.unit, prior])

    def linearise(self) -> tuple[Tensor, Tensor]:
        at, shape = self.prediction.linearise(), self.prediction.model.shape
        slope = torch.func.jacfwd(lambda x: _prior(shape, x))(self.prediction.latent)
        return torch.cat([at.jacobian / self.unit, slope]), at.metric


def _prior(shape: AbstractShape, latent: Tensor) -> Tensor:
    return torch.cat(
        [shape.gauge(latent) / _GAUGE, shape.roughness(latent), shape.fold_barrier(latent) / _BARRIER]
    )


def _misfit(predicted: Tensor, target: Tensor, measurement: Measurement) -> float:
    return float((predicted - target).square().mean().sqrt()) / measurement.reference

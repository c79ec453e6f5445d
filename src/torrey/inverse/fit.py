"""One start of a reconstruction, from a first latent through all stages to the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from ..shape import AbstractShape
from ..signal.tissue import Tissue
from .adam import Adam, descend
from .fine_model import FineModel
from .forward import ForwardModel, Prediction
from .levenberg_marquardt import LevenbergMarquardt, minimise
from .measurement import Measurement
from .objective import PenalisedPrediction, penalised_least_squares, prior
from .stages import Stage

Report = Callable[[str, int, float, AbstractShape, Tensor], None]
"""Called with stage, iteration, misfit over S(0), shape model and latent of every accepted iterate."""

USUAL_FINE = FineModel(order=2, length_scale=1.2, most_modes=180, floor=1e-4, corrections=3)
"""Second-order elements: 500 nodes put a tube within 2e-4 of the smooth one (`benchmarks/accuracy.py`)."""

_UNSETTLED = 0.1
"""Share of the first correction that is not believed."""

_ENOUGH = 0.2
"""Misfit over the believed error of the model under which a better one says nothing about the shape."""

_STILL = 0.3
"""Change of the correction over σ that means nothing."""

_HURRIED_GAIN = 3.0
"""Gain in ½|F|² that means nothing where the answer is only the start of the next stage."""

_HURRIED_SHARE = 0.02
"""The same as a share of ½|F|² under noise, which is most of it."""

_EXACT = 1e-5
"""Error over S(0) below which signals are exact: those of a simulation, by the solver that is believed."""

_EXACT_PASSES = 2.0, 1.0
"""Errors over the believed one of the passes over exact signals; modes are counted before each."""

_ENOUGH_MODES = 60
"""Modes of the Jacobian that tells how sure the answer is."""

_TELLING = 300
"""Exact signals that are fitted."""

_FOR_ONE_TRIED = 8
"""Candidates for each that goes through the early stages."""

_GLANCE = 120
"""Measurements by which candidates for a start are compared."""

_GLANCING = LevenbergMarquardt(max_iterations=4)
"""How far all relatives are fitted before they are compared."""

_AT_A_TIME = 8
"""How many relatives are fitted before the best of them is fitted further."""

_MORE_FITTED, _AS_GOOD = 2, 2.0
"""How many others are fitted further at most, and how much more than the best one they may leave."""

_FURTHER = LevenbergMarquardt(max_iterations=8)
"""How far the best relatives are fitted in their own models."""

_EXPLAINED = 1.05
"""Share of the noise that a relative may leave for no other to be fitted further."""

_NOISY, _NOISY_COARSENING = 4e-3, 1.25
"""σ over S(0) above which modes are resolved to a length scale coarser by this factor: their error, about
1e-3 before it is corrected, then stays far below the noise."""


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
    cheap : Prediction
        By the last stage's model; holds its Jacobian.
    fine : ForwardModel
        What `predicted` is by.
    model_sigma : float
        rms difference of the two over S(0): the error of the mesh the fit used.
    reason : str
        Why it stopped.
    """

    latent: Tensor
    predicted: Tensor
    misfit: float
    cost: float
    cheap: Prediction
    fine: ForwardModel
    model_sigma: float
    reason: str


class Candidate(NamedTuple):
    """A `latent` of a model, that of the first stage or one of its relatives, to start from."""

    shape: AbstractShape
    latent: Tensor


class _Rough(NamedTuple):
    """The end of the early stages: a latent of the last stage's shape, and rms over S(0) of what is left.

    `evidence` is how much of that speaks for noise.
    """

    latent: Tensor
    unexplained: float
    evidence: float


class _End(NamedTuple):
    """Where a candidate ended in its own model, and the rms over S(0) of what is left."""

    candidate: Candidate
    unexplained: float


def _guarded(model: ForwardModel, finest: AbstractShape, latent: Tensor) -> ForwardModel:
    """Return `model`, which keeps `finest` from folding too where that has its latent and is unfolded."""
    if model.shape.n_latent != finest.n_latent or not replace(model, shape=finest).admissible(latent):
        return model
    return replace(model, finest=finest)


def _unexplained(end: _End) -> float:
    return end.unexplained


@dataclass(frozen=True, eq=False)
class Fitter:
    """Everything that the starts of one reconstruction share."""

    measurement: Measurement
    tissue: Tissue
    optimiser: LevenbergMarquardt | Adam
    report: Report
    fine: FineModel = USUAL_FINE

    def run(self, sequence: tuple[Stage, ...], finest: AbstractShape, candidates: Sequence[Candidate]) -> Fit:
        """Fit from the best of `candidates` through all stages to `finest`.

        Candidates are compared by what they predict, and of many the best few by what is left after the
        early stages. Relatives say nothing before they are fitted.
        """
        if all(candidate.shape is sequence[0].shape for candidate in candidates):
            few = self._nearest(sequence[0], candidates)
            fits = (self._rough(sequence, finest, each) for each in few)
            rough = min(fits, key=lambda fit: fit.unexplained)
        else:
            rough = self._of_relatives(sequence, candidates)
        known = self.measurement.sigma
        sigma = max(self.fine.floor, rough.evidence if known is None else known)
        # of exact signals there is nothing to average: a few hundred tell all
        if not (self._exact and isinstance(self.optimiser, LevenbergMarquardt)):
            return self._corrected(sequence[-1], finest, rough.latent, sigma)
        seen = replace(self, measurement=self.measurement.thinned(_TELLING))
        return self._of_all(seen._exactly(sequence[-1].name, finest, rough.latent, sigma))

    @property
    def _exact(self) -> bool:
        """Whether the signals are those of the believed solver."""
        known = self.measurement.sigma
        return known is not None and max(self.fine.floor, known) < _EXACT

    def _rough(self, sequence: tuple[Stage, ...], finest: AbstractShape, candidate: Candidate) -> _Rough:
        """Fit from `candidate` through all stages but the last."""
        known, evidence, unexplained = self.measurement.sigma, 0.0, math.inf
        before, latent, reached = candidate.shape, candidate.latent, math.inf
        for stage in sequence[:-1]:
            # a start far from the shape explains little too, so that an early stage is not held back much
            sigma = max(stage.sigma, evidence / 3 if known is None else known)
            if stage.shape == before and sigma >= reached:
                continue
            latent = stage.carry(before, latent)
            before, reached = stage.shape, sigma
            seen = self._of_stage(stage)
            model, target = _guarded(seen._model(stage, latent), finest, latent), seen.measurement.signal
            fitted, _ = seen._optimise(model, latent, target, sigma, stage.name, hurried=True)
            latent, unexplained = fitted.latent, self._rms(fitted.predicted - target)
            # a misfit below the error that was allowed is no evidence of noise
            evidence = unexplained if unexplained > sigma else 0.0
        return _Rough(sequence[-1].carry(before, latent), unexplained, evidence)

    def _of_all(self, fit: Fit) -> Fit:
        """Return `fit`, one to some of the measurements, with the predictions of all."""
        acquisition = self.measurement.acquisition
        few = min(fit.cheap.model.n_modes, _ENOUGH_MODES)
        cheap = replace(fit.cheap.model, acquisition=acquisition, n_modes=few).at(fit.latent)
        fine = replace(fit.fine, acquisition=acquisition)
        predicted = fine.predict(fit.latent)
        misfit = self._rms(predicted - self.measurement.signal)
        return replace(fit, predicted=predicted, misfit=misfit, cheap=cheap, fine=fine)

    def _nearest(self, stage: Stage, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """Return the few of `candidates`, of the shape of `stage`, that predict the measured signal best."""
        if len(candidates) == 1:
            return candidates
        seen = replace(self, measurement=self.measurement.thinned(_GLANCE))
        model, target = seen._model(stage, candidates[0].latent), seen.measurement.signal
        ranked = sorted(candidates, key=lambda each: self._rms(model.predict(each.latent) - target))
        return ranked[: max(1, len(candidates) // _FOR_ONE_TRIED)]

    def _of_relatives(self, sequence: tuple[Stage, ...], candidates: Sequence[Candidate]) -> _Rough:
        """Fit `candidates`, each in its own model, the best further, until one explains the signals."""
        first, second, last = sequence
        # what tells relatives apart is far above the error of first-order elements
        glance = replace(self._of_stage(first), optimiser=_GLANCING, fine=replace(self.fine, order=1))
        seen = replace(self._of_stage(second), optimiser=_FURTHER)
        if self._exact:
            # the believed solver tells the shape that made the signals from all others
            second = replace(second, length_scale=self.fine.length_scale, most_modes=self.fine.most_modes)
        explained, ends = max(_EXPLAINED * (self.measurement.sigma or 0.0), second.sigma / 2), []
        for candidate in glance._promising(first, candidates):
            ends.append(seen._in_own_model(second, candidate))
            if ends[-1].unexplained < explained:
                break
        (shape, latent), unexplained = min(ends, key=_unexplained)
        evidence = unexplained if unexplained > second.sigma else 0.0
        return _Rough(last.shape.carried(shape, latent), unexplained, evidence)

    def _promising(self, stage: Stage, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """Yield where the best of `candidates` end, after every eight, and at last the next best few."""
        waiting: list[_End] = []
        best = math.inf
        for begin in range(0, len(candidates), _AT_A_TIME):
            some = candidates[begin : begin + _AT_A_TIME]
            waiting += [self._in_own_model(stage, each) for each in some]
            waiting.sort(key=_unexplained)
            best = min(best, waiting[0].unexplained)
            if waiting[0].unexplained < _AS_GOOD * best:
                yield waiting.pop(0).candidate
        yield from (end.candidate for end in waiting[:_MORE_FITTED] if end.unexplained < _AS_GOOD * best)

    def _in_own_model(self, stage: Stage, candidate: Candidate) -> _End:
        """Fit `candidate` to its own end."""
        sigma = max(stage.sigma, self.measurement.sigma or 0.0)
        stage, target = replace(stage, shape=candidate.shape), self.measurement.signal
        model = self._model(stage, candidate.latent)
        at, _ = self._optimise(model, candidate.latent, target, sigma, stage.name, hurried=True)
        return _End(Candidate(candidate.shape, at.latent), self._rms(at.predicted - target))

    def _exactly(self, stage: str, finest: AbstractShape, latent: Tensor, sigma: float) -> Fit:
        """Fit the fine model itself, with its exact Jacobian, to signals that it made.

        In directions that signals hardly see, the error of a cheaper model or of a Jacobian with modes held
        fixed is larger than all that they say.
        """
        unresolved, fine = replace(self._unresolved(finest), out_of_span="all"), self.fine
        for share in _EXACT_PASSES:
            (count,) = unresolved.count_resolved(latent, (fine.length_scale, fine.most_modes))
            model = replace(unresolved, n_modes=count)
            at, reason = self._optimise(
                model, latent, self.measurement.signal, share * sigma, stage, hurried=share > 1
            )
            latent = at.latent
        misfit = self._rms(at.predicted - self.measurement.signal)
        cost = self._cost(misfit, len(at.predicted), model.shape, latent)
        return Fit(latent, at.predicted, misfit, cost, at, model, 0.0, reason)

    def _corrected(self, stage: Stage, finest: AbstractShape, latent: Tensor, sigma: float) -> Fit:
        """Fit the cheap model plus its difference from the fine one, until that difference stands still.

        Defect correction: the answer is the fine model's, every Jacobian the cheap one's.
        """
        model, fine = self._last_models(stage, finest, latent, sigma=sigma)
        # first-order descent is run once, as published: it is too slow to be started again
        passes = self.fine.corrections if isinstance(self.optimiser, LevenbergMarquardt) else 1
        cheap, predicted, reason = model.at(latent), fine.predict(latent), ""
        difference = predicted - cheap.predicted
        enough = _ENOUGH if self.measurement.sigma is None else 0.0
        for turn in range(passes):
            # at first the difference belongs to another shape than the one to be found
            believed = max(sigma, _UNSETTLED * self._rms(difference)) if turn == 0 else sigma
            target = self.measurement.signal - difference
            # the answer of a pass on too little trust is only the start of the next
            hurried = believed > min(sigma, _NOISY)
            trial, reason = self._optimise(
                model, cheap.latent, target, believed, stage.name, hurried=hurried, enough=enough
            )
            if not fine.admissible(trial.latent):
                reason = "the next step folds on the fine mesh"
                break
            cheap, predicted, before = trial, fine.predict(trial.latent), difference
            difference = predicted - cheap.predicted
            settled = believed == sigma and self._rms(difference - before) < _STILL * sigma
            if settled:
                break
            if self.measurement.sigma is None:
                sigma = max(self.fine.floor, min(sigma, self._rms(predicted - self.measurement.signal)))
        misfit = self._rms(predicted - self.measurement.signal)
        cost = self._cost(misfit, len(predicted), fine.shape, cheap.latent)
        return Fit(cheap.latent, predicted, misfit, cost, cheap, fine, self._rms(difference), reason)

    def _cost(self, misfit: float, count: int, shape: AbstractShape, latent: Tensor) -> float:
        """Return ½χ² of `count` measurements with that `misfit` plus the prior of `latent` (P,)."""
        sigma = max(self.fine.floor, self.measurement.sigma or 0.0)
        return (count * (misfit / sigma) ** 2 + float(prior(shape, latent).square().sum())) / 2

    def _last_models(
        self, last: Stage, finest: AbstractShape, latent: Tensor, *, sigma: float
    ) -> tuple[ForwardModel, ForwardModel]:
        """Return the model to fit with and the fine one that corrects it.

        How many modes a length scale takes is a matter of the shape, so both are counted on the cheap mesh.
        """
        coarser = _NOISY_COARSENING if sigma > _NOISY and self.fine == USUAL_FINE else 1.0
        model, fine = self._unresolved(last.shape), self.fine
        limits = (
            (last.length_scale * coarser, last.most_modes),
            (fine.length_scale * coarser, fine.most_modes),
        )
        few, many = model.count_resolved(latent, *limits)
        if not isinstance(self.optimiser, LevenbergMarquardt):
            few = many  # first-order descent is never corrected
        fitted = _guarded(replace(model, n_modes=few), finest, latent)
        return fitted, replace(model, shape=finest, n_modes=many)

    def _of_stage(self, stage: Stage) -> Fitter:
        """Return this with the measurements that `stage` looks at."""
        most = stage.most_measurements
        return self if most is None else replace(self, measurement=self.measurement.thinned(most))

    def _model(self, stage: Stage, latent: Tensor) -> ForwardModel:
        model = self._unresolved(stage.shape)
        (count,) = model.count_resolved(latent, (stage.length_scale, stage.most_modes))
        return replace(model, n_modes=count)

    def _unresolved(self, shape: AbstractShape) -> ForwardModel:
        """Return the model on `shape` with one mode only."""
        return ForwardModel(
            shape, self.tissue, self.measurement.acquisition, self.measurement.normalised, 1, self.fine.order
        )

    def _optimise(
        self,
        model: ForwardModel,
        latent: Tensor,
        target: Tensor,
        sigma: float,
        stage: str,
        *,
        hurried: bool,
        enough: float = 0.0,
    ) -> tuple[Prediction, str]:
        """Minimise the misfit to `target` (N,); return the prediction at the minimum and why it stopped.

        `hurried` where the answer is only the start of the next. A misfit of less than `enough` of `sigma`
        ends the search.
        """
        reference, iteration = self.measurement.reference, 0

        def note(misfit: float, at: Tensor) -> None:
            nonlocal iteration
            self.report(stage, iteration, misfit, model.shape, at)
            iteration += 1

        if isinstance(self.optimiser, Adam):
            noise = (self.measurement.sigma or self.fine.floor) ** 2

            def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
                loss, slope = model.misfit_gradient(x, target)
                return loss / reference**2, slope / reference**2

            def within_noise(x: Tensor, loss: Tensor) -> bool:
                note(float(loss) ** 0.5, x)
                return float(loss) <= noise

            latent, reason = descend(
                gradient, model.admissible, latent, self.optimiser, accepted=within_noise
            )
            return model.at(latent), reason

        def accept(point: PenalisedPrediction) -> bool:
            misfit = self._rms(point.prediction.predicted - target)
            note(misfit, point.prediction.latent)
            return misfit < enough * sigma

        settings = self.optimiser
        if hurried:
            settings = replace(settings, negligible=_HURRIED_GAIN)
            if sigma > _NOISY:
                settings = replace(settings, gain_tolerance=max(_HURRIED_SHARE, settings.gain_tolerance))
        problem = penalised_least_squares(model, target, sigma * reference)
        point, reason = minimise(problem, latent, settings, accepted=accept)
        return point.prediction, reason

    def _rms(self, signal: Tensor) -> float:
        """Return the root mean square of `signal` (N,) over S(0)."""
        return float(signal.square().mean().sqrt()) / self.measurement.reference

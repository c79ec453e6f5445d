r"""The second cumulant: what a waveform f makes of positions that decorrelate as e^{−λt}.

To second order in q the signal of a reduced model at rest (Λν = 0) is

    S = νᵀν − q² νᵀA G(Λ) Aν,     G(λ) = ∬_{t>t'} f(t) f(t') e^{−λ(t−t')} dt' dt.

With z' = −λz + f, z(0) = 0, this is a sum of squares, in which nothing cancels:

    G = ∫ f z dt = z(T)²/2 + λ ∫ z² dt.

Of a gradient that turns in space every pair of components has its G_ab = z_a(T) z_b(T)/2 + λ ∫ z_a z_b dt,
the symmetric part in a and b, which is all that a sum over both sees.
"""

from __future__ import annotations

import warnings
from math import factorial
from typing import NamedTuple

import torch
from torch import Tensor

from ..acquisition import FreeWaveform
from ..errors import AccuracyWarning
from .splitting import extrapolate
from .timing import PulseTiming

TOLERANCE = 1e-9
"""Wanted error of G over its bound λ∫F²dt: that of the apparent diffusion coefficient over D."""

_STEPS = (3, 6, 9, 12)
"""Steps of a part of a pulse, multiplied until the tolerance is met; exact where f is constant on it."""

_MOST_REFINED = 64

_SLOWEST = 1e-9
"""1/ms; slower decays are none in any experiment."""

_NEAR = 1e-4
"""Relative gap under which a divided difference is taken as a derivative: the error is of its square, while
subtraction would lose 1e-16 / _NEAR."""

_SERIES_BELOW, _TERMS = 0.25, 15
"""Above that x subtraction loses two digits at most; below it, this many terms leave nothing."""


Course = PulseTiming | FreeWaveform
"""A time course: of pulses along one axis, or of three components."""


def second_cumulant(course: Course, rates: Tensor) -> Tensor:
    """Return G(Λ) (n, n), ms², for diagonal Λ = `rates` (n, n), 1/ms; (3, 3, n, n) of a free waveform.

    Its derivative is that of a function of a full symmetric matrix, the divided differences of G in its
    eigenbasis (Daleckii and Krein, 1965), so that equal rates do no harm.
    """
    eigenvalues = rates.diagonal().detach()
    gap = eigenvalues[:, None] - eigenvalues
    middle = (eigenvalues[:, None] + eigenvalues) / 2
    near = gap.abs() <= _NEAR * middle
    values = time_weights(course, eigenvalues)
    fixed = values.detach()
    differences = (fixed[..., :, None] - fixed[..., None, :]) / gap.masked_fill(near, 1.0)
    with torch.enable_grad():
        here = middle[near].requires_grad_()
        weights = time_weights(course, here).reshape(-1, len(here))
        slopes = [torch.autograd.grad(own.sum(), here, retain_graph=True)[0] for own in weights]
    differences[..., near] = torch.stack(slopes).view(*values.shape[:-1], -1)
    return torch.diag_embed(values) + differences * (rates - rates.detach())


def time_weights(course: Course, rates: Tensor) -> Tensor:
    """Return G (...), ms², of `rates` λ (...), 1/ms, zero or positive; (3, 3, ...) of a free waveform."""
    return _of_raster(course, rates) if isinstance(course, FreeWaveform) else _of_pulses(course, rates)


def weighting(course: Course) -> Tensor:
    """Return ∫|F|²dt, ms³."""
    if isinstance(course, FreeWaveform):
        trace: Tensor = course.weighting_tensor.diagonal().sum()
        return trace
    delta, Delta = (torch.tensor(t, dtype=torch.float64) for t in (course.small_delta, course.big_delta))
    square: Tensor = course.waveform.weighting(delta, Delta)
    return square


def _of_pulses(timing: PulseTiming, rates: Tensor) -> Tensor:
    """Return G (...), ms², by steps until the tolerance is met."""
    # G vanishes with λ, and then only rounding is left
    bound = rates.detach().clamp(min=_SLOWEST) * float(weighting(timing))
    runs: dict[int, Tensor] = {}
    factor = 1
    while True:
        counts = tuple(factor * m for m in _STEPS)
        runs |= {m: _with_steps(timing, m, rates) for m in counts if m not in runs}
        here = [runs[m] for m in counts]
        weights = extrapolate(here, counts)
        change = (weights - extrapolate(here[1:], counts[1:])).detach().abs()
        error = float((change / bound).max())
        if error <= TOLERANCE:
            return weights
        if factor >= _MOST_REFINED:
            warnings.warn(
                f"{counts[-1]} steps a pulse are too few: estimated error {error:.1e} of the apparent "
                f"diffusion coefficient over D, expected at most {TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return weights
        factor *= 2


def _with_steps(timing: PulseTiming, count: int, rates: Tensor) -> Tensor:
    """Return G for the mean of f over each of `count` steps of a part of a pulse."""
    z, squares = torch.zeros_like(rates), torch.zeros_like(rates)
    known: dict[float, _Step] = {}
    for interval in timing.intervals:
        number = count if interval.pulse else 1
        edges = torch.linspace(interval.start, interval.end, number + 1, dtype=torch.float64)
        h = (interval.end - interval.start) / number
        # equal but for rounding
        if round(h, 12) not in known:
            known[round(h, 12)] = _Step.of(rates * h)
        z, square = known[round(h, 12)].repeat(z, timing.integral(interval, edges).tolist())
        squares = squares + h * square
    return z**2 / 2 + rates * squares


def _of_raster(waveform: FreeWaveform, rates: Tensor) -> Tensor:
    """Return G_ab (3, 3, ...), ms², exact for a gradient that is constant on each cell."""
    step = _Step.of(rates * waveform.raster)
    turns = waveform.raster * waveform.samples.to(rates)
    z, begins = rates.new_zeros(3, *rates.shape), []
    for turn in turns:
        begins.append(z)
        z = z * step.decay + torch.tensordot(turn, step.end, dims=0)
    begin = torch.stack(begins)
    across = torch.einsum("ka...,kb->ab...", begin, turns)
    squares = torch.einsum("ka...,kb...->ab...", begin, begin) * step.fading
    squares = squares + (across + across.transpose(0, 1)) / 2 * step.end**2
    squares = squares + torch.tensordot(turns.mT @ turns, step.square, dims=0)
    weights: Tensor = z[:, None] * z / 2 + rates * waveform.raster * squares
    return weights


class _Step(NamedTuple):
    """A step h on which f is constant.

    With x = λh and s the time in the step over h, z(s) = e^{−xs} z(0) + p(s) ∫f, p(s) = (1 − e^{−xs})/x.

    Attributes
    ----------
    decay, fading : (...) Tensor
        e^{−x}, and ∫e^{−2xs} ds, s from 0 to 1.
    end, square : (...) Tensor
        p(1), and ∫p² ds.
    """

    decay: Tensor
    fading: Tensor
    end: Tensor
    square: Tensor

    @classmethod
    def of(cls, x: Tensor) -> _Step:
        end = _mean_decay(x)
        # p' = 1 − xp makes ∫p = (1 − p(1))/x and ∫p² = (∫p − p(1)²/2)/x
        small = x < _SERIES_BELOW
        near, far = x.masked_fill(~small, 0.0), x.masked_fill(small, 1.0)
        series = torch.zeros_like(x)
        for k in reversed(range(_TERMS)):
            series = series * near + (-1) ** k * (2 ** (k + 2) - 2) / factorial(k + 3)
        square = torch.where(small, series, ((1 - end) / far - end**2 / 2) / far)
        return cls(torch.exp(-x), _mean_decay(2 * x), end, square)

    def repeat(self, z: Tensor, turns: list[float]) -> tuple[Tensor, Tensor]:
        """Return z (...) at the end of steps with ∫f of `turns`, from `z` (...), and ∫z² over h."""
        begins = []
        for turn in turns:
            begins.append(z)
            z = z * self.decay + self.end * turn
        begin = torch.stack(begins, dim=-1)
        turn_of = begin.new_tensor(turns)
        # e^{−xs} = p', so that ∫e^{−xs}p = p(1)²/2
        squares = begin.square().sum(-1) * self.fading + (begin @ turn_of) * self.end**2
        return z, squares + turn_of.square().sum() * self.square


def _mean_decay(x: Tensor) -> Tensor:
    """Return (1 − e^{−x})/x."""
    still = x == 0
    safe = x.masked_fill(still, 1.0)
    # the derivative at zero
    return torch.where(still, 1 - x / 2, -torch.expm1(-safe) / safe)

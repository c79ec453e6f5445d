r"""PGSE signals of a reduced model.

For one relaxation rate and uniform spin density, K = Λ + iqA is complex symmetric and

    S = Σₖ exp(−λₖ(Δ − δ)) |yₖ|²,    y = exp(−δK) ν,

so one pulse a measurement suffices, and the signal is real and not negative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import AccuracyWarning
from ..fem.reduced import ReducedModel
from .groups import MeasurementGroups, chunks, group_measurements
from .splitting import Pulse, stiffness
from .splitting_adjoint import PulseCotangent, divided_exponential, pulse_adjoint

SPLITTING_TOLERANCE = 3e-5
"""Wanted error of the time splitting over S(0), a third of the default truncation error."""

_BASE_STEPS = (3, 6, 9, 12)
"""Eighth order: 2e-6 of S(0) for 90 modes at δ = 5 ms and b = 10 000 s/mm² (`benchmarks/splitting.py`)."""

_MOST_REFINED = 64
"""Largest multiple of the base steps."""

_JACOBIAN_ARRAYS = 8
"""Matrices a measurement that a Jacobian holds at once."""

_JACOBIAN_RUNS = 3
"""Sixth order: the Jacobian's error is far below that of holding the modes fixed."""


def pgse_signal(model: ReducedModel, wave_vectors: Tensor, small_delta: Tensor, big_delta: Tensor) -> Tensor:
    """Return ∫M (N,), µm³, without relaxation, for unit spin density.

    Parameters
    ----------
    model : ReducedModel
        `rates` must be diagonal; gradients flow through all three as through full symmetric matrices.
    wave_vectors : (N, 3) Tensor
        q, rad/(µm ms); gradients flow through them.
    small_delta, big_delta : (N,) Tensor
        δ and Δ, ms.
    """
    signal: Tensor = _Pgse.apply(*model, wave_vectors, small_delta, big_delta)
    return signal


class _Part(NamedTuple):
    """A chunk of groups: their axes, pauses Δ − δ (G, C), pulse, and the states (G, n, C) at its end."""

    axes: Tensor
    pause: Tensor
    pulse: Pulse
    end: Tensor

    def select(self, groups: slice) -> _Part:
        return _Part(self.axes[groups], self.pause[groups], self.pulse.select(groups), self.end[groups])


@dataclass(frozen=True, eq=False)
class PgseSolution:
    """PGSE signals of a reduced model, with what their derivatives need.

    Attributes
    ----------
    model : ReducedModel
        With diagonal `rates`.
    groups : MeasurementGroups
        The measurements by axis and duration.
    parts : list
        Pulses of chunks of the groups.
    signal : (N,) Tensor
        ∫M, µm³.
    """

    model: ReducedModel
    groups: MeasurementGroups
    parts: list[_Part]
    signal: Tensor

    @classmethod
    def of(
        cls, model: ReducedModel, wave_vectors: Tensor, small_delta: Tensor, big_delta: Tensor
    ) -> PgseSolution:
        """Solve for the signals of `pgse_signal`; not differentiable by autograd."""
        groups = group_measurements(wave_vectors, small_delta, big_delta)
        parts = [
            _accurate_pulse(model, groups, part) for part in groups.chunks(_floats_per_group(groups, model))
        ]
        signal = torch.cat([_pair(part.pulse, part.pause, part.end) for part in parts])
        return cls(model, groups, parts, groups.scatter(signal))

    def jacobian(self, tangents: ReducedModel) -> Tensor:
        """Return the derivatives (N, P) of the signals along P `tangents` of the reduced model.

        Adjoint for each measurement; exactly that of the signals of sixth order.
        """

        def along(part: _Part) -> Tensor:
            pulse = replace(part.pulse, steps=part.pulse.steps[:_JACOBIAN_RUNS])
            # that of this signal, not of the better one: else a mere translation would seem to change it
            end, _ = pulse.propagate(self.model.magnetisation)
            return self._along(part, tangents, self._cotangents(part._replace(pulse=pulse, end=end)))

        return self._each(tangents, along)

    def tangent(self, model: ReducedModel, wave_vectors: Tensor) -> Tensor:
        """Return the derivative (N,) along tangents of the reduced `model` and of q (N, 3)."""
        tangents = ReducedModel(*(t[None] for t in model))

        def along(part: _Part) -> Tensor:
            cotangent = self._cotangents(part)
            turned = torch.einsum("gkij,cij->gkc", cotangent.position, self.model.moments)
            return torch.cat([self._along(part, tangents, cotangent), turned], dim=2)

        slopes = self._each(tangents, along)
        return slopes[:, 0] + (slopes[:, 1:] * wave_vectors).sum(1)

    def _each(self, tangents: ReducedModel, along: Callable[[_Part], Tensor]) -> Tensor:
        """Return `along` (G, C, ·) of chunks of the measurements, as (N, ·)."""
        columns = []
        for whole in self.parts:
            each = _JACOBIAN_ARRAYS * whole.pause.shape[1] * tangents.rates[0].numel()
            columns += [along(whole.select(few)) for few in chunks(len(whole.axes), each)]
        return self.groups.scatter(torch.cat(columns))

    def _cotangents(self, part: _Part) -> PulseCotangent:
        """Return those of a unit cotangent of each measurement."""
        start, ones = self.model.magnetisation, torch.ones_like(part.pause)
        return _cotangent(part.pulse, part.pause, start, part.end, ones, each=True)

    def _along(self, part: _Part, tangents: ReducedModel, cotangent: PulseCotangent) -> Tensor:
        """Return the derivatives (G, C, P) of the measurements of `part`."""
        moments = torch.einsum("gc,pcij->gpij", part.axes, tangents.moments).flatten(2)
        along = cotangent.rates.flatten(2) @ tangents.rates.flatten(1).mT
        along += part.pulse.wave_number[:, :, None] * (cotangent.position.flatten(2) @ moments.mT)
        along += cotangent.start @ tangents.magnetisation.mT
        return along


class _Pgse(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any,
        rates: Tensor,
        moments: Tensor,
        start: Tensor,
        wave_vectors: Tensor,
        small_delta: Tensor,
        big_delta: Tensor,
    ) -> Tensor:
        model = ReducedModel(rates, moments, start)
        solution = PgseSolution.of(model, wave_vectors, small_delta, big_delta)
        ctx.save_for_backward(rates, moments, start)
        ctx.groups, ctx.parts, ctx.solution = solution.groups, solution.parts, solution
        return solution.signal

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        solution: PgseSolution = ctx.solution
        return solution.tangent(ReducedModel(*tangents[:3]), tangents[3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        rates, moments, start = ctx.saved_tensors
        each = ctx.needs_input_grad[3]
        weights = ctx.groups.gather(cotangent).split([len(part.axes) for part in ctx.parts])
        rates_bar, start_bar = torch.zeros_like(rates), torch.zeros_like(start)
        moments_bar, wave_bar = torch.zeros_like(moments), []
        for part, weight in zip(ctx.parts, weights, strict=True):
            bar = _cotangent(part.pulse, part.pause, start, part.end, weight, each=each)
            if each:
                wave_bar.append(torch.einsum("gkij,cij->gkc", bar.position, moments))
                position = (part.pulse.wave_number[:, :, None, None] * bar.position).sum(1)
            else:
                position = bar.position[:, 0]
            moments_bar += torch.einsum("gc,gij->cij", part.axes, position)
            rates_bar += bar.rates.sum((0, 1))
            start_bar += bar.start.sum((0, 1))
        wave = ctx.groups.scatter(torch.cat(wave_bar)) if each else None
        return rates_bar, moments_bar, start_bar, wave, None, None


def _floats_per_group(groups: MeasurementGroups, model: ReducedModel) -> int:
    return 8 * _BASE_STEPS[-1] * groups.wave_number.shape[1] * len(model.magnetisation)


def _accurate_pulse(model: ReducedModel, groups: MeasurementGroups, part: slice) -> _Part:
    """Diagonalise the axes of a chunk and take as many steps as the tolerance needs."""
    axes, pause = groups.axes[part], groups.pause[part]
    A = torch.einsum("gc,cij->gij", axes, model.moments)
    positions, rotation = torch.linalg.eigh(A)
    volume = model.magnetisation.square().sum()
    thirds = 3
    while True:
        steps = tuple(m * thirds // 3 for m in _BASE_STEPS)
        delta, q = groups.small_delta[part], groups.wave_number[part]
        pulse = Pulse(positions, rotation, model.rates.diagonal(), delta, q, steps)
        end, error = pulse.propagate(model.magnetisation)
        change = _pair(pulse, pause, end) - _pair(pulse, pause, end - error)
        estimate = float(change.abs().max() / volume) * stiffness(
            float(pulse.duration.max()) / steps[0], pulse.rates
        )
        if estimate <= SPLITTING_TOLERANCE:
            return _Part(axes, pause, pulse, end)
        if thirds >= 3 * _MOST_REFINED:
            warnings.warn(
                f"{steps[-1]} steps a pulse are too few: estimated error {estimate:.1e} of S(0), "
                f"expected at most {SPLITTING_TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return _Part(axes, pause, pulse, end)
        # times 4/3 and 3/2 in turn: 1, 4/3, 2, 8/3, 4, ...
        thirds = thirds * 4 // 3 if thirds % 3 == 0 else thirds * 3 // 2


def _pair(pulse: Pulse, pause: Tensor, end: Tensor) -> Tensor:
    decay = torch.exp(-pause[:, None, :] * pulse.rates[:, None])
    return (decay * (end.real.square() + end.imag.square())).sum(1)


def _cotangent(
    pulse: Pulse, pause: Tensor, start: Tensor, end: Tensor, weight: Tensor, *, each: bool
) -> PulseCotangent:
    """Pull `weight` (G, C) on the signals back; `each` keeps measurements apart."""
    decay = torch.exp(-pause[:, None, :] * pulse.rates[:, None])
    bar = pulse_adjoint(pulse, start, 2 * weight[:, None, :] * decay * end, each=each)
    rates = bar.rates if each else bar.rates.sum((0, 1), keepdim=True)
    rates = rates + _pause_cotangent(pulse.rates, pause, end, weight, each=each)
    return PulseCotangent(rates, bar.position, bar.start)


def _pause_cotangent(rates: Tensor, pause: Tensor, end: Tensor, weight: Tensor, *, each: bool) -> Tensor:
    """Cotangent of Λ in exp(−(Δ − δ)Λ) between the pulses."""
    states = torch.view_as_real(end.transpose(1, 2).contiguous())
    times, index = torch.unique(pause, return_inverse=True)
    divided = divided_exponential(rates, times)
    if each:
        return (weight[:, :, None, None] * states) @ states.mT * divided[index]
    total = torch.zeros_like(rates.diag())
    for k, exponential in enumerate(divided):
        mask = index == k
        columns = states[mask].transpose(0, 1).flatten(1)
        scale = weight[mask].repeat_interleave(2)
        total += (columns * scale) @ columns.T * exponential
    return total[None, None]

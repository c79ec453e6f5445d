r"""PGSE signals of a reduced model.

For one relaxation rate and uniform spin density, K = Λ + iqA is complex symmetric and

    S = Σₖ exp(−λₖ(Δ − δ)) |yₖ|²,    y = exp(−δK) ν,

so one pulse a measurement suffices, and the signal is real and not negative.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import AccuracyWarning
from ..fem.reduced import ReducedModel
from .groups import MeasurementGroups, group_measurements
from .splitting import Pulse
from .splitting_adjoint import PulseCotangent, divided_exponential, pulse_adjoint

SPLITTING_TOLERANCE = 3e-5
"""Wanted error of the time splitting over S(0), a third of the default truncation error."""

_BASE_STEPS = (4, 8, 12)

_MOST_REFINED = 64
"""Largest multiple of the base steps."""

_STIFF = 12.0
"""Decay hλ of the fastest mode in a step above which extrapolation gains less than its estimate says: the
error is then about hλ / 12 of it (`benchmarks/splitting.py`)."""

_JACOBIAN_STEPS = (4, 8)
"""Fourth order: the Jacobian's error of about 1e-4 is below that of holding the modes fixed."""


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


def pgse_jacobian(
    model: ReducedModel, tangents: ReducedModel, wave_vectors: Tensor, small_delta: Tensor, big_delta: Tensor
) -> Tensor:
    """Return the derivatives (N, P) of the signals along P `tangents` of the reduced model."""
    jacobian = (2 * tangents.magnetisation @ model.magnetisation).repeat(len(wave_vectors), 1)
    moving = (wave_vectors != 0).any(1)
    if not moving.any():
        return jacobian
    groups = group_measurements(wave_vectors[moving], small_delta[moving], big_delta[moving])
    n = len(model.magnetisation)
    columns = []
    for part in groups.chunks(16 * groups.wave_number.shape[1] * n * n):
        pulse, end = _accurate_pulse(model, groups, part)
        pause = groups.pause[part]
        rough = replace(pulse, steps=tuple(m * pulse.steps[0] // _BASE_STEPS[0] for m in _JACOBIAN_STEPS))
        cotangent = _cotangent(rough, pause, model.magnetisation, end, torch.ones_like(pause), each=True)
        along = cotangent.rates.flatten(2) @ tangents.rates.flatten(1).mT
        dA = torch.einsum("gc,pcij->gpij", groups.axes[part], tangents.moments).flatten(2)
        along += pulse.wave_number[:, :, None] * (cotangent.position.flatten(2) @ dA.mT)
        along += cotangent.start @ tangents.magnetisation.mT
        columns.append(along)
    jacobian[moving] = groups.scatter(torch.cat(columns))
    return jacobian


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
        ctx.save_for_backward(rates, moments, start)
        ctx.groups = groups = group_measurements(wave_vectors, small_delta, big_delta)
        model = ReducedModel(rates, moments, start)
        ctx.pulses, signals = [], []
        for part in groups.chunks(_floats_per_group(groups, len(start))):
            pulse, end = _accurate_pulse(model, groups, part)
            ctx.pulses.append((part, pulse, end))
            signals.append(_pair(pulse, groups.pause[part], end))
        return groups.scatter(torch.cat(signals))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        rates, moments, start = ctx.saved_tensors
        groups: MeasurementGroups = ctx.groups
        each = ctx.needs_input_grad[3]
        weight = groups.gather(cotangent)
        rates_bar, start_bar = torch.zeros_like(rates), torch.zeros_like(start)
        moments_bar, wave_bar = torch.zeros_like(moments), []
        for part, pulse, end in ctx.pulses:
            bar = _cotangent(pulse, groups.pause[part], start, end, weight[part], each=each)
            axes = groups.axes[part]
            if each:
                wave_bar.append(torch.einsum("gkij,cij->gkc", bar.position, moments))
                position = (pulse.wave_number[:, :, None, None] * bar.position).sum(1)
            else:
                position = bar.position[:, 0]
            moments_bar += torch.einsum("gc,gij->cij", axes, position)
            rates_bar += bar.rates.sum((0, 1))
            start_bar += bar.start.sum((0, 1))
        wave = groups.scatter(torch.cat(wave_bar)) if each else None
        return rates_bar, moments_bar, start_bar, wave, None, None


def _floats_per_group(groups: MeasurementGroups, n: int) -> int:
    return 8 * _BASE_STEPS[-1] * groups.wave_number.shape[1] * n


def _accurate_pulse(model: ReducedModel, groups: MeasurementGroups, part: slice) -> tuple[Pulse, Tensor]:
    """Diagonalise the axes of a chunk and take as many steps as the tolerance needs."""
    A = torch.einsum("gc,cij->gij", groups.axes[part], model.moments)
    positions, rotation = torch.linalg.eigh(A)
    volume = model.magnetisation.square().sum()
    factor = 1
    while True:
        steps = tuple(factor * m for m in _BASE_STEPS)
        delta, q = groups.small_delta[part], groups.wave_number[part]
        pulse = Pulse(positions, rotation, model.rates.diagonal(), delta, q, steps)
        end, error = pulse.propagate(model.magnetisation)
        change = _pair(pulse, groups.pause[part], end) - _pair(pulse, groups.pause[part], end - error)
        stiffness = float(pulse.duration.max() * pulse.rates.max()) / steps[0]
        estimate = float(change.abs().max() / volume) * max(1.0, stiffness / _STIFF)
        if estimate <= SPLITTING_TOLERANCE:
            return pulse, end
        if factor >= _MOST_REFINED:
            warnings.warn(
                f"{steps[-1]} steps a pulse are too few: estimated error {estimate:.1e} of S(0), "
                f"expected at most {SPLITTING_TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return pulse, end
        factor *= 2


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
    if each:
        product = weight[:, :, None, None] * (states @ states.mT)
        return product * divided_exponential(rates, pause)
    total = torch.zeros_like(rates.diag())
    for time in torch.unique(pause):
        mask = pause == time
        columns = states[mask].transpose(0, 1).flatten(1)
        scale = weight[mask].repeat_interleave(2)
        total += (columns * scale) @ columns.T * divided_exponential(rates, time)
    return total[None, None]

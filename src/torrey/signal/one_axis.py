"""Signals of a reduced model for pulses of any shape along one axis a measurement, by `one_axis_steps`.

Three and four step counts extrapolate to sixth and eighth order, as for PGSE. Nothing is assumed of the
second half of the waveform.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acquisition import Acquisition
from ..errors import AccuracyWarning
from ..fem.reduced import ReducedModel
from .groups import chunks, group_measurements
from .one_axis_adjoint import pull_back
from .one_axis_steps import Axes, Ends, integrals, pulse_steps, pulses_run
from .one_axis_tangent import Change, push_forward
from .pgse import SPLITTING_TOLERANCE
from .splitting import extrapolate, stiffness
from .timing import PulseTiming, pulse_timings

_STEPS = (3, 6, 9, 12)
"""Steps of a pulse, multiplied until the tolerance is met."""

_MOST_REFINED = 64


def one_axis_signal(model: ReducedModel, acquisition: Acquisition, observers: Tensor | None = None) -> Tensor:
    """Return ∫M (N,), µm³, complex, without the relaxation left out of `model`.

    Parameters
    ----------
    model : ReducedModel
        `rates` must be diagonal; gradients flow through all three as through full symmetric matrices.
    acquisition : Acquisition
        Pulses along one axis; gradients flow through its gradient vectors. They are centred in the echo time.
    observers : (K, n) Tensor, optional
        Parts u to integrate over, which makes the signals (N, K); gradients flow through them.
    """
    parts = model.magnetisation[None] if observers is None else observers
    q = acquisition.wave_vectors.to(model.rates)
    signal = q.new_zeros(len(q), len(parts), dtype=torch.complex128)
    for timing, rows in pulse_timings(acquisition):
        here = rows.to(q.device)
        signal = signal.index_put((here,), _OneTiming.apply(*model, parts, q[here], timing))
    return signal[:, 0] if observers is None else signal


class _OneTiming(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any,
        rates: Tensor,
        moments: Tensor,
        start: Tensor,
        observers: Tensor,
        wave_vectors: Tensor,
        timing: PulseTiming,
    ) -> Tensor:
        delta, Delta = (
            torch.full_like(wave_vectors[:, 0], t) for t in (timing.small_delta, timing.big_delta)
        )
        groups = group_measurements(wave_vectors, delta, Delta)
        A = torch.einsum("gc,cij->gij", groups.axes, moments)
        positions, rotation = torch.linalg.eigh(A)
        axes = Axes(groups.axes, positions, rotation, groups.wave_number)
        table, factor = _accurate(axes, rates.diagonal(), Ends(start, observers), timing)
        ctx.save_for_backward(rates, moments, start, observers)
        ctx.save_for_forward(rates, moments, start, observers)
        ctx.groups, ctx.axes, ctx.timing, ctx.factor = groups, axes, timing, factor
        return groups.scatter(table)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        rates, moments, *ends = ctx.saved_tensors
        rates_change, moments_change, *ends_change, wave_change, _ = tangents
        wave_change = torch.stack([ctx.groups.gather(part) for part in wave_change.unbind(1)], dim=2)
        counts = tuple(ctx.factor * m for m in _STEPS)
        signals = []
        for few in chunks(len(wave_change), 4 * wave_change.shape[1] * rates.numel()):
            axes = Axes(*(t[few] for t in ctx.axes))
            position = torch.einsum("gc,cij->gij", axes.axes, moments_change)[:, None]
            position = axes.wave_number[:, :, None, None] * position
            position = position + torch.einsum("gkc,cij->gkij", wave_change[few], moments)
            change = Change(rates_change, position, Ends(*ends_change))
            signals.append(push_forward(axes, rates.diagonal(), Ends(*ends), ctx.timing, counts, change))
        tangent: Tensor = ctx.groups.scatter(torch.cat(signals))
        return tangent

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        rates, moments, *ends = ctx.saved_tensors
        bar = torch.complex(ctx.groups.gather(cotangent.real), ctx.groups.gather(cotangent.imag))
        bars = rates_bar, moments_bar, start_bar, observers_bar = [
            torch.zeros_like(t) for t in (rates, moments, *ends)
        ]
        each = ctx.needs_input_grad[4]
        wave_bar = []
        counts = tuple(ctx.factor * m for m in _STEPS)
        finest = pulse_steps(ctx.timing, counts[-1])
        floats = 8 * len(finest.gaps) * len(rates) * bar.shape[1]
        for few in chunks(len(bar), floats):
            axes = Axes(*(t[few] for t in ctx.axes))
            pulled = pull_back(axes, rates.diagonal(), Ends(*ends), ctx.timing, counts, bar[few], each=each)
            rates_bar += pulled.rates
            start_bar += pulled.ends.start
            observers_bar += pulled.ends.observers
            if each:
                wave_bar.append(torch.einsum("gkij,cij->gkc", pulled.position, moments))
                position = (axes.wave_number[:, :, None, None] * pulled.position).sum(1)
            else:
                position = pulled.position[:, 0]
            moments_bar += torch.einsum("gc,gij->cij", axes.axes, position)
        wave = ctx.groups.scatter(torch.cat(wave_bar)) if each else None
        return *bars, wave, None


def _accurate(axes: Axes, rates: Tensor, ends: Ends, timing: PulseTiming) -> tuple[Tensor, int]:
    """Return the signals (G, C, K) and by what the steps were multiplied for the tolerance."""
    factor = 1
    longest = max(part.end - part.start for part in timing.intervals if part.pulse is not None)
    volume = float(ends.start.square().sum())
    while True:
        counts = tuple(factor * m for m in _STEPS)
        runs = []
        for m in counts:
            trace = pulses_run(axes, rates, ends.start, pulse_steps(timing, m))
            runs.append(integrals(axes, ends.observers, trace.after[-1]))
        signal = extrapolate(runs, counts)
        change = float((signal - extrapolate(runs[1:], counts[1:])).abs().max())
        error = change / volume * stiffness(longest / counts[0], rates)
        if error <= SPLITTING_TOLERANCE:
            return signal, factor
        if factor >= _MOST_REFINED:
            warnings.warn(
                f"{counts[-1]} steps a pulse are too few: estimated error {error:.1e} of S(0), "
                f"expected at most {SPLITTING_TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return signal, factor
        factor *= 2

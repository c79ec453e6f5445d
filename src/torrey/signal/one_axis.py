r"""Signals of a reduced model for pulses of any shape along one axis a measurement.

Strang steps as in `splitting`, each with the exact integral φ of the waveform over it: decays alternate with
phase factors,

    y = e^{−g_S Λ} Π_j e^{−iqφ_j A} e^{−g_j Λ} ν,     S = νᵀ y,

g_j the time from the middle of one step to that of the next; of a part of the shape S_c = u_cᵀ y, with u_c
the observer of that part. The steps are symmetric in time and end where
the waveform is not smooth, so that the error has even powers of their length only, and three and four step
counts extrapolate to sixth and eighth order, as for PGSE. Nothing is assumed of the second half of it.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acquisition import Acquisition
from ..errors import AccuracyWarning
from ..fem.reduced import ReducedModel
from .groups import chunks, group_measurements
from .pgse import SPLITTING_TOLERANCE
from .splitting import extrapolate, extrapolation_weights, multiply, stiffness
from .splitting_adjoint import NEAR, diagonal, divided_exponential, outer, outer_each
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


class _Steps(NamedTuple):
    """`lengths` (K,) of gaps, ms, which of them each of the S + 1 gaps is, and `phases` φ (S,), ms."""

    lengths: Tensor
    gaps: list[int]
    phases: Tensor


def _steps(timing: PulseTiming, count: int) -> _Steps:
    """Return `count` steps for each part of a pulse."""
    middles, phases = [], []
    for interval in timing.intervals:
        if interval.pulse is not None:
            edges = torch.linspace(interval.start, interval.end, count + 1, dtype=torch.float64)
            phases.append(timing.integral(interval, edges))
            middles.append((edges[1:] + edges[:-1]) / 2)
    start, end = torch.tensor([[0.0], [timing.echo_time]], dtype=torch.float64)
    gaps = torch.cat([start, *middles, end]).diff()
    # equal but for rounding
    lengths, which = torch.unique(gaps.round(decimals=10), return_inverse=True)
    return _Steps(lengths, which.tolist(), torch.cat(phases))


class _Axes(NamedTuple):
    """Axes of a chunk, diagonalised: positions (G, n), rotations (G, n, n), wave numbers (G, C)."""

    axes: Tensor
    positions: Tensor
    rotation: Tensor
    wave_number: Tensor

    def decays(self, rates: Tensor, steps: _Steps) -> list[Tensor]:
        """Return e^{−gΛ} (G, n, n) for each length of a gap, in the bases of the axes."""
        return [
            self.rotation.mT @ (torch.exp(-g * rates)[:, None] * self.rotation)
            for g in steps.lengths.tolist()
        ]

    def phase(self, phi: float) -> Tensor:
        """Return e^{−iqφa} (G, n, C)."""
        angle = phi * self.wave_number[:, None] * self.positions[:, :, None]
        return torch.polar(torch.ones_like(angle), -angle)


class _Trace(NamedTuple):
    """States (G, n, C) before and after each gap of one run."""

    before: list[Tensor]
    after: list[Tensor]


def _run(axes: _Axes, rates: Tensor, start: Tensor, steps: _Steps) -> _Trace:
    decays = axes.decays(rates, steps)
    state = (start @ axes.rotation)[:, :, None].to(torch.complex128)
    state = state.expand(-1, -1, axes.wave_number.shape[1])
    before, after = [], []
    for j, gap in enumerate(steps.gaps):
        before.append(state)
        state = multiply(decays[gap], state)
        after.append(state)
        if j < len(steps.phases):
            state = axes.phase(float(steps.phases[j])) * state
    return _Trace(before, after)


def _integrals(axes: _Axes, observers: Tensor, end: Tensor) -> Tensor:
    """Return uᵀy (G, C, K) of `observers` (K, n), for the state `end` in the bases of the axes."""
    return multiply(observers @ axes.rotation, end).mT


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
        axes = _Axes(groups.axes, positions, rotation, groups.wave_number)
        table, factor = _accurate(axes, rates.diagonal(), start, observers, timing)
        ctx.save_for_backward(rates, moments, start, observers)
        ctx.groups, ctx.axes, ctx.timing, ctx.factor = groups, axes, timing, factor
        return groups.scatter(table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        rates, moments, start, observers = ctx.saved_tensors
        bar = torch.complex(ctx.groups.gather(cotangent.real), ctx.groups.gather(cotangent.imag))
        rates_bar, start_bar = torch.zeros_like(rates), torch.zeros_like(start)
        moments_bar, observers_bar = torch.zeros_like(moments), torch.zeros_like(observers)
        each = ctx.needs_input_grad[4]
        wave_bar = []
        counts = tuple(ctx.factor * m for m in _STEPS)
        finest = _steps(ctx.timing, counts[-1])
        floats = 8 * len(finest.gaps) * ctx.axes.positions.shape[1] * bar.shape[1]
        for few in chunks(len(bar), floats):
            axes = _Axes(*(t[few] for t in ctx.axes))
            ends = start, observers
            pulled = _pull(axes, rates.diagonal(), ends, ctx.timing, counts, bar[few], each=each)
            rates_bar += pulled.rates
            start_bar += pulled.start
            observers_bar += pulled.observers
            if each:
                wave_bar.append(torch.einsum("gkij,cij->gkc", pulled.position, moments))
                position = (axes.wave_number[:, :, None, None] * pulled.position).sum(1)
            else:
                position = pulled.position[:, 0]
            moments_bar += torch.einsum("gc,gij->cij", axes.axes, position)
        wave = ctx.groups.scatter(torch.cat(wave_bar)) if each else None
        return rates_bar, moments_bar, start_bar, observers_bar, wave, None


def _accurate(
    axes: _Axes, rates: Tensor, start: Tensor, observers: Tensor, timing: PulseTiming
) -> tuple[Tensor, int]:
    """Return the signals (G, C, K) and by what the steps were multiplied for the tolerance."""
    factor = 1
    longest = max(part.end - part.start for part in timing.intervals if part.pulse is not None)
    volume = float(start.square().sum())
    while True:
        counts = tuple(factor * m for m in _STEPS)
        runs = []
        for m in counts:
            trace = _run(axes, rates, start, _steps(timing, m))
            runs.append(_integrals(axes, observers, trace.after[-1]))
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


class _Pulled(NamedTuple):
    """Cotangents of Λ (n, n), of A (G, 1, n, n) or qA (G, C, n, n), ν (n,) and u (K, n), in the modes."""

    rates: Tensor
    position: Tensor
    start: Tensor
    observers: Tensor


def _pull(  # noqa: PLR0917 (one after another in the chain)
    axes: _Axes,
    rates: Tensor,
    ends: tuple[Tensor, Tensor],
    timing: PulseTiming,
    counts: tuple[int, ...],
    bar: Tensor,
    *,
    each: bool,
) -> _Pulled:
    """Pull `bar` (G, C, K) on the signals back through all runs; `each` keeps measurements apart.

    `ends` are ν and the observers.
    """
    start, observers = ends
    rates_bar, start_bar = torch.zeros_like(rates.diag()), torch.zeros_like(start)
    observers_bar = torch.zeros_like(observers)
    telescoped: Tensor | float = 0.0
    diagonal_part: Tensor | float = 0.0
    product = outer_each if each else lambda bars, states: outer(bars, states)[:, None]
    scale = torch.ones_like(axes.wave_number) if each else axes.wave_number
    reach = axes.wave_number.abs() if each else axes.wave_number.abs().amax(1, keepdim=True)
    gap = (axes.positions[:, :, None] - axes.positions[:, None])[:, None]
    near = (reach * timing.small_delta)[:, :, None, None] * gap.abs() < NEAR
    mixed = bool(near.sum() > near[..., 0].numel())
    for m, weight in zip(counts, extrapolation_weights(counts), strict=True):
        steps = _steps(timing, m)
        trace = _run(axes, rates, start, steps)
        decays = axes.decays(rates, steps)
        end = weight * multiply((observers @ axes.rotation).mT, bar.mT)
        observers_bar += _real_pairing(axes, weight * bar, trace.after[-1])
        before_bars: list[Tensor] = [end] * len(steps.gaps)
        after_bars: list[Tensor] = [end] * len(steps.gaps)
        state = end
        for j in reversed(range(len(steps.gaps))):
            if j < len(steps.phases):
                state = axes.phase(float(steps.phases[j])).conj().resolve_conj() * state
            after_bars[j] = state
            state = multiply(decays[steps.gaps[j]], state)
            before_bars[j] = state
        start_bar += torch.einsum("gik,gk->i", axes.rotation, before_bars[0].real.sum(2))
        for k, length in enumerate(steps.lengths):
            here = [j for j, gap_of in enumerate(steps.gaps) if gap_of == k]
            pair = outer([after_bars[j] for j in here], [trace.before[j] for j in here])
            in_modes = (axes.rotation @ pair @ axes.rotation.mT).sum(0)
            rates_bar += in_modes * divided_exponential(rates, length.to(rates))
        # of each phase factor ⟨in⟩ − ⟨out⟩; out of one is before of the next gap
        telescoped = telescoped + product(
            after_bars[:-1] + [-b for b in before_bars[1:]], trace.after[:-1] + trace.before[1:]
        )
        turned = [
            (-1j * float(phi)) * scale[:, None] * out
            for phi, out in zip(steps.phases, trace.before[1:], strict=True)
        ]
        if mixed:
            diagonal_part = diagonal_part + product(before_bars[1:], turned)
        else:
            own = diagonal(before_bars[1:], turned)
            diagonal_part = diagonal_part + torch.diag_embed(own.mT if each else own.sum(2)[:, None])
    over = gap * axes.wave_number[:, :, None, None] if each else gap
    position = torch.where(near, diagonal_part, telescoped / over.masked_fill(near, 1.0))
    rotation = axes.rotation[:, None]
    return _Pulled(rates_bar, rotation @ position @ rotation.mT, start_bar, observers_bar)


def _real_pairing(axes: _Axes, bar: Tensor, end: Tensor) -> Tensor:
    """Return the cotangent of u (K, n) in S = uᵀy, for y = `end` in the bases of the axes."""
    pairing = outer([bar.mT], [end])
    return (pairing @ axes.rotation.mT).sum(0)

"""Signals of a reduced model for gradients that turn in space, by the steps of `three_axes_steps`."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acquisition import Acquisition
from ..errors import AccuracyWarning
from ..fem.reduced import ReducedModel
from .groups import chunks
from .pgse import SPLITTING_TOLERANCE
from .splitting import extrapolate, extrapolation_weights, multiply, stiffness
from .splitting_adjoint import divided_exponential
from .three_axes_adjoint import pull_back
from .three_axes_steps import Axes, axes_run, rested
from .three_axes_tangent import Change, Moved, push_forward, through
from .timing import RasterTiming, raster_timings

_MOST_RUNS = 4
"""Runs of 1, 2, 3, 4 steps a cell, and their multiples by powers of two until the tolerance is met."""

_MOST_REFINED = 64


def three_axes_signal(
    model: ReducedModel, acquisition: Acquisition, observers: Tensor | None = None
) -> Tensor:
    """Return ∫M (N,), µm³, complex, without the relaxation left out of `model`.

    Parameters
    ----------
    model : ReducedModel
        `rates` must be diagonal; gradients flow through all three as through full symmetric matrices.
    acquisition : Acquisition
        Free waveforms; gradients flow through their samples and the gradient vectors. They are centred in the
        echo time.
    observers : (K, n) Tensor, optional
        Parts u to integrate over, which makes the signals (N, K); gradients flow through them.
    """
    parts = model.magnetisation[None] if observers is None else observers
    signal = model.rates.new_zeros(acquisition.n_measurements, len(parts), dtype=torch.complex128)
    # along the principal axes of the shape, so that turning shape and gradients together changes nothing
    spread = torch.einsum("uij,vij->uv", model.moments, model.moments).detach()
    frame = torch.linalg.eigh(spread).eigenvectors
    turned = model._replace(moments=torch.einsum("uc,uij->cij", frame, model.moments))
    for timing, rows in raster_timings(acquisition):
        q = acquisition.free_wave_vectors(rows).to(model.rates) @ frame
        for few in chunks(len(rows), 2 * timing.n_cells * len(model.magnetisation)):
            part = _OneRaster.apply(*turned, parts, q[few], timing)
            signal = signal.index_put((rows[few].to(signal.device),), part)
    return signal[:, 0] if observers is None else signal


class _OneRaster(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any,
        rates: Tensor,
        moments: Tensor,
        start: Tensor,
        observers: Tensor,
        q: Tensor,
        timing: RasterTiming,
    ) -> Tensor:
        axes = Axes.of(rates, moments)
        signal, end, counts = _accurate(axes, start, observers, q, timing)
        ctx.save_for_backward(start, observers, q, end)
        ctx.save_for_forward(start, observers, q, end)
        ctx.axes, ctx.timing, ctx.counts = axes, timing, counts
        return signal

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        start, observers, q, end = ctx.saved_tensors
        axes, timing, counts = ctx.axes, ctx.timing, ctx.counts
        rates_change, moments_change, start_change, observers_change, q_change, _ = tangents
        slower = rates_change * divided_exponential(axes.rates, start.new_tensor(timing.lead))

        def rest(vectors: Tensor, change: Tensor) -> Moved:
            later, changed = (rested(x, axes.rates, timing.lead) for x in (vectors, change))
            return Moved(later, changed + vectors @ slower)

        begin, moved = rest(start, start_change), Moved(q, q_change)
        change = Change(rates_change, moments_change)
        runs = [push_forward(axes, change, begin, moved, (timing.raster / m, m)) for m in counts]
        end_moved = Moved(end, extrapolate(runs, counts))
        return through(rest(observers, observers_change), end_moved).change.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        start, observers, q, end = ctx.saved_tensors
        axes, timing, counts = ctx.axes, ctx.timing, ctx.counts

        def rest(vectors: Tensor) -> Tensor:
            return rested(vectors, axes.rates, timing.lead)

        end_bar = multiply(rest(observers).mT, cotangent.mT)
        bars = [torch.zeros_like(t) for t in (axes.bases[0], axes.bases, start, q)]
        for m, weight in zip(counts, extrapolation_weights(counts), strict=True):
            pulled = pull_back(axes, rest(start), q, (timing.raster / m, m), weight * end_bar)
            for bar, part in zip(bars, pulled, strict=True):
                bar.add_(part)
        rates_bar, moments_bar, rested_bar, q_bar = bars
        observed_bar = (cotangent.mH @ end.mT).real
        pauses = torch.outer(rested_bar, start) + observed_bar.mT @ observers
        rates_bar += pauses * divided_exponential(axes.rates, start.new_tensor(timing.lead))
        return rates_bar, moments_bar, rest(rested_bar), rest(observed_bar), q_bar, None


def _accurate(
    axes: Axes, start: Tensor, observers: Tensor, q: Tensor, timing: RasterTiming
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Return the signals (C, K), the state (n, C) they integrate, and the steps a cell that make them."""
    begin, seen = (rested(x, axes.rates, timing.lead) for x in (start, observers))
    volume = float(start.square().sum())
    factor = 1
    runs: dict[int, Tensor] = {}
    while True:
        for n_runs in range(2, _MOST_RUNS + 1):
            counts = tuple(factor * (k + 1) for k in range(n_runs))
            for m in counts:
                if m not in runs:
                    runs[m] = axes_run(axes, begin, q, (timing.raster / m, m))
            own = [runs[m] for m in counts]
            end = extrapolate(own, counts)
            # without the coarsest, and without the finest: phases of some radians make one of them small
            others = extrapolate(own[1:], counts[1:]), extrapolate(own[:-1], counts[:-1])
            change = max(float(multiply(seen, end - other).abs().max()) for other in others)
            error = change / volume * stiffness(timing.raster / factor, axes.rates)
            if error <= SPLITTING_TOLERANCE:
                return multiply(seen, end).mT, end, counts
        if factor >= _MOST_REFINED:
            warnings.warn(
                f"{counts[-1]} steps a cell of {timing.raster:g} ms are too few: estimated error "
                f"{error:.1e} of S(0), expected at most {SPLITTING_TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return multiply(seen, end).mT, end, counts
        factor *= 2

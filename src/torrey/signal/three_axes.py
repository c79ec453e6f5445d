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
from .splitting import extrapolate, extrapolation_weights, stiffness
from .splitting_adjoint import divided_exponential
from .three_axes_adjoint import pull_back
from .three_axes_steps import Axes, axes_run, rested_start
from .three_axes_tangent import Change, Moved, push_forward
from .timing import RasterTiming, raster_timings

_MOST_RUNS = 4
"""Runs of 1, 2, 3, 4 steps a cell, and their multiples by powers of two until the tolerance is met."""

_MOST_REFINED = 64


def three_axes_signal(model: ReducedModel, acquisition: Acquisition) -> Tensor:
    """Return ∫M (N,), µm³, complex, without the relaxation left out of `model`.

    Parameters
    ----------
    model : ReducedModel
        `rates` must be diagonal; gradients flow through all three as through full symmetric matrices.
    acquisition : Acquisition
        Free waveforms; gradients flow through their samples and the gradient vectors. They are centred in the
        echo time.
    """
    signal = model.rates.new_zeros(acquisition.n_measurements, dtype=torch.complex128)
    # along the principal axes of the shape, so that turning shape and gradients together changes nothing
    spread = torch.einsum("uij,vij->uv", model.moments, model.moments).detach()
    frame = torch.linalg.eigh(spread).eigenvectors
    turned = model._replace(moments=torch.einsum("uc,uij->cij", frame, model.moments))
    for timing, rows in raster_timings(acquisition):
        q = acquisition.free_wave_vectors(rows).to(model.rates) @ frame
        for few in chunks(len(rows), 2 * timing.n_cells * len(model.magnetisation)):
            part = _OneRaster.apply(*turned, q[few], timing)
            signal = signal.index_put((rows[few].to(signal.device),), part)
    return signal


class _OneRaster(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any, rates: Tensor, moments: Tensor, start: Tensor, q: Tensor, timing: RasterTiming
    ) -> Tensor:
        axes = Axes.of(rates, moments)
        signal, counts = _accurate(axes, rested_start(start, axes.rates, timing.lead), start, q, timing)
        ctx.save_for_backward(start, q)
        ctx.save_for_forward(start, q)
        ctx.axes, ctx.timing, ctx.counts = axes, timing, counts
        return signal

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        start, q = ctx.saved_tensors
        axes, timing, counts = ctx.axes, ctx.timing, ctx.counts
        rates_change, moments_change, start_change, q_change, _ = tangents
        pause = start.new_tensor(timing.lead)
        slower = rates_change * divided_exponential(axes.rates, pause)
        rested = Moved(
            rested_start(start, axes.rates, timing.lead),
            rested_start(start_change, axes.rates, timing.lead) + slower @ start,
        )
        change, moved = Change(rates_change, moments_change), Moved(q, q_change)
        runs = [push_forward(axes, change, rested, moved, (timing.raster / m, m)) for m in counts]
        return extrapolate(runs, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        start, q = ctx.saved_tensors
        axes, timing, counts = ctx.axes, ctx.timing, ctx.counts
        rested = rested_start(start, axes.rates, timing.lead)
        bars = [torch.zeros_like(t) for t in (axes.bases[0], axes.bases, start, q)]
        for m, weight in zip(counts, extrapolation_weights(counts), strict=True):
            pulled = pull_back(axes, rested, q, (timing.raster / m, m), weight * cotangent)
            for bar, part in zip(bars, pulled, strict=True):
                bar.add_(part)
        rates_bar, moments_bar, rested_bar, q_bar = bars
        pause = start.new_tensor(timing.lead)
        rates_bar += torch.outer(rested_bar, start) * divided_exponential(axes.rates, pause)
        return rates_bar, moments_bar, rested_start(rested_bar, axes.rates, timing.lead), q_bar, None


def _accurate(
    axes: Axes, rested: Tensor, start: Tensor, q: Tensor, timing: RasterTiming
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the signals (C,) and the steps a cell that make them to the tolerance."""
    volume = float(start.square().sum())
    factor = 1
    runs: dict[int, Tensor] = {}
    while True:
        for n_runs in range(2, _MOST_RUNS + 1):
            counts = tuple(factor * (k + 1) for k in range(n_runs))
            for m in counts:
                if m not in runs:
                    runs[m] = axes_run(axes, rested, q, (timing.raster / m, m))
            own = [runs[m] for m in counts]
            signal = extrapolate(own, counts)
            # without the coarsest, and without the finest: phases of some radians make one of them small
            others = extrapolate(own[1:], counts[1:]), extrapolate(own[:-1], counts[:-1])
            change = max(float((signal - other).abs().max()) for other in others)
            error = change / volume * stiffness(timing.raster / factor, axes.rates)
            if error <= SPLITTING_TOLERANCE:
                return signal, counts
        if factor >= _MOST_REFINED:
            warnings.warn(
                f"{counts[-1]} steps a cell of {timing.raster:g} ms are too few: estimated error "
                f"{error:.1e} of S(0), expected at most {SPLITTING_TOLERANCE:g}",
                AccuracyWarning,
                stacklevel=2,
            )
            return signal, counts
        factor *= 2

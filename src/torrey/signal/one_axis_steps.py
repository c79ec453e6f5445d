r"""Steps of a reduced model under pulses of any shape along one axis.

With φ the exact integral of the waveform over a step, decays alternate with phase factors,

    y = e^{−g_S Λ} Π_j e^{−iqφ_j A} e^{−g_j Λ} ν,     S = νᵀ y,

g_j the time from the middle of one step to that of the next; of a part of the shape S_c = u_cᵀ y, with u_c
the observer of that part. The steps are symmetric in time and end where the waveform is not smooth, so that
the error has even powers of their length only.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .splitting import multiply
from .timing import PulseTiming


class Steps(NamedTuple):
    """`lengths` (K,) of gaps, ms, which of them each of the S + 1 gaps is, and `phases` φ (S,), ms."""

    lengths: Tensor
    gaps: list[int]
    phases: Tensor


def pulse_steps(timing: PulseTiming, count: int) -> Steps:
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
    return Steps(lengths, which.tolist(), torch.cat(phases))


class Axes(NamedTuple):
    """Axes of a chunk, diagonalised: positions (G, n), rotations (G, n, n), wave numbers (G, C)."""

    axes: Tensor
    positions: Tensor
    rotation: Tensor
    wave_number: Tensor

    def decays(self, rates: Tensor, steps: Steps) -> list[Tensor]:
        """Return e^{−gΛ} (G, n, n) for each length of a gap, in the bases of the axes."""
        return [
            self.rotation.mT @ (torch.exp(-g * rates)[:, None] * self.rotation)
            for g in steps.lengths.tolist()
        ]

    def initial(self, start: Tensor) -> Tensor:
        """Take `start` (n,) to the bases of the axes, once for each measurement: (G, n, C)."""
        state = (start @ self.rotation)[:, :, None].to(torch.complex128)
        return state.expand(-1, -1, self.wave_number.shape[1])

    def phase(self, phi: float) -> Tensor:
        """Return e^{−iqφa} (G, n, C)."""
        angle = phi * self.wave_number[:, None] * self.positions[:, :, None]
        return torch.polar(torch.ones_like(angle), -angle)


class Ends(NamedTuple):
    """ν (n,), from which a run starts, and the observers u (K, n) of its end; or changes of both."""

    start: Tensor
    observers: Tensor


class Trace(NamedTuple):
    """States (G, n, C) before and after each gap of one run."""

    before: list[Tensor]
    after: list[Tensor]


def pulses_run(axes: Axes, rates: Tensor, start: Tensor, steps: Steps) -> Trace:
    """Take `start` (n,) through all steps."""
    decays = axes.decays(rates, steps)
    state = axes.initial(start)
    before, after = [], []
    for j, gap in enumerate(steps.gaps):
        before.append(state)
        state = multiply(decays[gap], state)
        after.append(state)
        if j < len(steps.phases):
            state = axes.phase(float(steps.phases[j])) * state
    return Trace(before, after)


def integrals(axes: Axes, observers: Tensor, end: Tensor) -> Tensor:
    """Return uᵀy (G, C, K) of `observers` (K, n), for the state `end` (G, n, C) in the bases of the axes."""
    return multiply(observers @ axes.rotation, end).mT

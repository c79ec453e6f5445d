"""The time course of a waveform, as both solvers cut it into steps."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..acquisition.waveforms import AbstractWaveform


class Interval(NamedTuple):
    """A time, ms, in which the gradient is smooth and varies little, or zero.

    `pulse` is when its pulse began and its sign, None between pulses.
    """

    start: float
    end: float
    pulse: tuple[float, float] | None


class Timing(NamedTuple):
    """A waveform with its δ, Δ and echo time, ms; it is centred in the echo time."""

    waveform: AbstractWaveform
    small_delta: float
    big_delta: float
    echo_time: float

    @property
    def intervals(self) -> list[Interval]:
        """From excitation to echo, without gaps."""
        delta, Delta = (torch.tensor(t, dtype=torch.float64) for t in (self.small_delta, self.big_delta))
        lead = max(0.0, (self.echo_time - float(self.waveform.duration(delta, Delta))) / 2)
        parts, time = [], 0.0
        for offset, sign in self.waveform.pulses(delta, Delta):
            begin = lead + float(offset)
            if begin > time:
                parts.append(Interval(time, begin, None))
            for one, two in pairwise(self.waveform.breaks(self.small_delta)):
                parts.append(Interval(begin + one, begin + two, (begin, sign)))
            time = parts[-1].end
        if self.echo_time > time:
            parts.append(Interval(time, self.echo_time, None))
        return parts

    def integral(self, interval: Interval, edges: Tensor) -> Tensor:
        """Return the integral of the waveform, ms, between neighbours of the times `edges` (k + 1,)."""
        if interval.pulse is None:
            return torch.zeros(len(edges) - 1, dtype=torch.float64)
        begin, sign = interval.pulse
        return sign * self.waveform.running_integral(edges - begin, self.small_delta).diff()


def timings(acquisition: Acquisition) -> list[tuple[Timing, Tensor]]:
    """Return the time courses that occur, each with the rows (k,) of its measurements."""
    columns = (
        acquisition.waveform_of.double(),
        acquisition.small_delta,
        acquisition.big_delta,
        acquisition.echo_time,
    )
    kinds, which = torch.unique(torch.stack(columns, dim=1).detach(), dim=0, return_inverse=True)
    return [
        (Timing(acquisition.waveforms[int(kind[0])], *kind[1:]), (which == k).nonzero().ravel())
        for k, kind in enumerate(kinds.tolist())
    ]

"""The time courses of waveforms, as both solvers cut them into steps."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..acquisition import Acquisition, FreeWaveform
from ..acquisition.waveforms import AbstractPulses


class Interval(NamedTuple):
    """A time, ms, in which the gradient is smooth and varies little, or zero.

    `pulse` is when its pulse began and its sign, None between pulses.
    """

    start: float
    end: float
    pulse: tuple[float, float] | None


class Step(NamedTuple):
    """Its length, ms, and the mean of the gradient over it: `scale` times that of a `cell` of the course."""

    length: float
    scale: float
    cell: int


class PulseTiming(NamedTuple):
    """Pulses with their δ, Δ and echo time, ms; centred in the echo time."""

    waveform: AbstractPulses
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

    def steps(self, longest: float) -> list[Step]:
        """Return steps of at most `longest` ms, equal in each part of the waveform; it has one cell."""
        steps = []
        for interval in self.intervals:
            span = interval.end - interval.start
            count = max(3 if interval.pulse else 1, _count(span, longest))
            edges = torch.linspace(interval.start, interval.end, count + 1, dtype=torch.float64)
            means = self.integral(interval, edges) * count / span
            steps += [Step(round(span / count, 12), round(f, 12), 0) for f in means.tolist()]
        return steps


class RasterTiming(NamedTuple):
    """A raster of `n_cells` cells of `raster` ms in an echo time, ms; centred in it."""

    raster: float
    n_cells: int
    echo_time: float

    @property
    def lead(self) -> float:
        """The time before the first cell, and after the last, ms."""
        return max(0.0, (self.echo_time - self.raster * self.n_cells) / 2)

    def steps(self, longest: float) -> list[Step]:
        """Return steps of at most `longest` ms, equal in each cell."""
        pause = _count(self.lead, longest)
        rest = [Step(round(self.lead / max(pause, 1), 12), 0.0, 0)] * pause
        count = _count(self.raster, longest)
        cells = [Step(self.raster / count, 1.0, k) for k in range(self.n_cells) for _ in range(count)]
        return rest + cells + rest


def _count(span: float, longest: float) -> int:
    return math.ceil(span / longest * (1 - 1e-9))


def pulse_timings(acquisition: Acquisition) -> list[tuple[PulseTiming, Tensor]]:
    """Return the time courses of pulses that occur, each with the rows (k,) of its measurements."""
    courses = []
    columns = (acquisition.small_delta, acquisition.big_delta, acquisition.echo_time)
    for waveform, rows in acquisition.by_waveform:
        if isinstance(waveform, AbstractPulses):
            times = torch.stack(columns, dim=1).detach()[rows]
            own, which = torch.unique(times, dim=0, return_inverse=True)
            courses += [(PulseTiming(waveform, *t), rows[which == k]) for k, t in enumerate(own.tolist())]
    return courses


def raster_timings(acquisition: Acquisition) -> list[tuple[RasterTiming, Tensor]]:
    """Return the rasters of free waveforms that occur, each with the rows (k,) of its measurements."""
    courses: dict[RasterTiming, list[Tensor]] = {}
    for waveform, rows in acquisition.by_waveform:
        if isinstance(waveform, FreeWaveform):
            for row, echo in zip(rows, acquisition.echo_time[rows].tolist(), strict=True):
                timing = RasterTiming(waveform.raster, len(waveform.samples), echo)
                courses.setdefault(timing, []).append(row)
    return [(timing, torch.stack(rows)) for timing, rows in courses.items()]

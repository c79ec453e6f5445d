"""Pulseq sequence files, read through PyPulseq.

Layton et al., Magn. Reson. Med. 77, 1544 (2017); Ravi et al., J. Open Source Softw. 4, 1725 (2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import units
from ..errors import FileError, InputError, MissingLibraryError
from ..text_files import PathLike, naming, read_text
from .acquisition import Acquisition
from .free_waveform import FreeWaveform


def read_pulseq(path: PathLike, *, raster: float = 0.1) -> Acquisition:
    """Read the gradients that each excitation of a Pulseq file sees, one measurement an excitation.

    All gradients between the centre of the excitation and the echo count, imaging gradients too; refocusing
    pulses turn them around. The echo is the spin echo of the refocusing pulses, and without one the middle of
    the first readout. Crushers and slice gradients that refocusing balances cancel by themselves.

    Parameters
    ----------
    path : path
        A `.seq` file.
    raster : float
        Longest cell, ms, over which gradients are averaged; the dephasing at the edges of cells is exact.

    Raises
    ------
    FileError
        When the file is missing or no Pulseq, has no excitation, no echo or no gradients, or gradients that
        are not balanced at the echo; the message names the excitation.
    MissingLibraryError
        When PyPulseq is not installed.
    """
    if not (raster > 0 and math.isfinite(raster)):
        raise InputError(f"read_pulseq: raster is {raster}, expected a positive number of ms")
    timeline = _Timeline.of(path)
    measurements = []
    for index in range(len(timeline.excitations)):
        with naming(f"{path}: excitation {index}"):
            measurements.append(_measurement(timeline, index, raster))
    acquisition = Acquisition.concatenate(measurements)
    if not acquisition.bvals.any():
        raise FileError(f"{path}: no gradient between any excitation and its echo, expected some")
    return acquisition


def _measurement(timeline: _Timeline, index: int, longest: float) -> Acquisition:
    begin, echo = timeline.excitations[index], timeline.echo_of(index)
    n_cells = max(2, math.ceil((echo - begin) / longest * (1 - 1e-9)))
    raster = (echo - begin) / n_cells
    dephasing = torch.from_numpy(timeline.dephasing(begin, np.linspace(begin, echo, n_cells + 1), echo))
    gradients = units.gradient_from_hertz_per_metre(dephasing.diff(dim=0) / raster)
    waveform, peak = FreeWaveform.of_gradients(gradients, raster)
    none = torch.full((1,), torch.nan, dtype=torch.float64)
    vector = peak * torch.tensor([[0, 0, 1.0]], dtype=torch.float64)
    return Acquisition(vector, none, none, none.new_tensor([echo - begin]), (waveform,))


@dataclass(frozen=True, eq=False)
class _Timeline:
    """Gradients and pulses of a sequence, ms and Hz/m: corners (2, M) of each axis, times in order."""

    gradients: list[np.ndarray]
    excitations: list[float]
    refocusings: list[float]
    readouts: list[float]

    @classmethod
    def of(cls, path: PathLike) -> _Timeline:
        gradients, excitations, refocusings, samples, _ = _waveforms_and_times(path)
        if excitations.size == 0:
            raise FileError(f"{path}: no excitation pulse, expected at least one")
        readouts = _middles(1e3 * np.asarray(samples, dtype=float), 1e3 * np.atleast_2d(excitations)[0])
        corners = [np.asarray(axis, dtype=float) * [[1e3], [1]] for axis in gradients]
        begins, turns = (sorted((1e3 * np.atleast_2d(t)[0]).tolist()) for t in (excitations, refocusings))
        return cls(corners, begins, turns, readouts)

    def echo_of(self, index: int) -> float:
        """Return when the spins of an excitation are refocused, ms."""
        begin = self.excitations[index]
        later = self.excitations[index + 1] if index + 1 < len(self.excitations) else math.inf
        turns = [t for t in self.refocusings if begin < t < later]
        if turns:
            # after each pulse the time since is counted against all before
            left = 0.0
            for start, end in zip([begin, *turns], turns, strict=False):
                left = end - start - left
            if left <= 0:
                raise InputError(
                    f"the refocusing pulse at {turns[-1]:g} ms comes before the spins that the one before it "
                    "turned are in phase, expected it after their echo"
                )
            echo = turns[-1] + left
        else:
            reads = [t for t in self.readouts if begin < t < later]
            if not reads:
                raise InputError("neither refocusing pulse nor readout, expected one, which makes the echo")
            echo = reads[0]
        if echo > later:
            raise InputError(
                f"the echo at {echo:g} ms comes after the next excitation at {later:g} ms, expected before"
            )
        return echo

    def dephasing(self, begin: float, edges: np.ndarray, echo: float) -> np.ndarray:
        """Return the integral (K + 1, 3) of the effective gradient since `begin` at `edges`, ms Hz/m."""
        turns = np.array([t for t in self.refocusings if begin < t < echo])
        result = np.zeros((len(edges), 3))
        for c, (times, amplitudes) in enumerate(self.gradients):
            if len(times) == 0:
                continue
            inside = times[(times > begin) & (times < echo)]
            nodes = np.unique(np.concatenate([edges, inside, turns]))
            middle = (nodes[1:] + nodes[:-1]) / 2
            sign = (-1.0) ** (len(turns) - np.searchsorted(turns, middle))
            # linear between nodes, so that the middle is the mean; also where it jumps at a node
            mean = np.interp(middle, times, amplitudes, left=0, right=0)
            total = np.concatenate([[0], np.cumsum(sign * mean * np.diff(nodes))])
            result[:, c] = total[np.searchsorted(nodes, edges)]
        return result


def _middles(samples: np.ndarray, excitations: np.ndarray) -> list[float]:
    """Return the middle, ms, of the first run of evenly spaced `samples` after each excitation."""
    middles = []
    for begin in np.sort(excitations):
        after = samples[samples > begin]
        if len(after):
            dwell = np.diff(after[:2]).sum()
            gaps = np.flatnonzero(np.diff(after) > 1.5 * dwell)
            last = after[gaps[0]] if len(gaps) else after[-1]
            middles.append(float(after[0] + last) / 2)
    return middles


def _waveforms_and_times(path: PathLike) -> tuple[Any, ...]:
    """Return what `pypulseq.Sequence.waveforms_and_times` makes of a file, in s and Hz/m."""
    text = read_text(path)
    if "[BLOCKS]" not in text:
        raise FileError(f"{path}: has no section [BLOCKS], expected a Pulseq sequence file")
    # without that line PyPulseq 1.5 never returns
    if "[" not in text.rpartition("[SHAPES]")[2] and "[SHAPES]" in text and not text.endswith("\n\n"):
        raise FileError(
            f"{path}: ends within [SHAPES], expected a blank line after the last shape; is it cut short?"
        )
    try:
        import pypulseq
    except ImportError:
        raise MissingLibraryError('read_pulseq needs PyPulseq: pip install "torrey[pulseq]"') from None
    sequence = pypulseq.Sequence()
    try:
        sequence.read(str(path))
        found: tuple[Any, ...] = sequence.waveforms_and_times()
    except Exception as error:
        # it has no error of its own, and finds an event that is not there only when it makes the waveforms
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FileError(
            f"{path}: PyPulseq cannot read it ({reason[:120]}), expected a Pulseq file"
        ) from error
    return found

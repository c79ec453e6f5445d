"""What is asked of a protocol, and the one-line messages when it is not so.

All functions take and return float64 tensors, leave derivatives alone, and name the offending measurement by
`place`, which turns its index into words: a row for arrays, a line for files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .waveforms import AbstractPulses, AbstractWaveform, Pgse

NORM_TOLERANCE = 0.01
"""Directions further than this from unit length are refused; the others are normalised."""

SMALLEST_BVAL, LARGEST_BVAL = 20.0, 1e6
"""s/mm². A protocol whose every b > 0 is below the first is in ms/µm²; one above the
second is in s/m²."""

SHORTEST_TIME, LONGEST_TIME = 0.05, 2000.0
"""ms. Pulse timings outside are in seconds or µs."""

_ROUNDING = 1e-9
"""Relative slack of every limit: values come back from text and from squares and roots with rounding."""

_TEXT_ROUNDING = 1e-6
"""Relative slack of echo times, which others write with few digits."""

Place = Callable[[int], str]


class Protocol(NamedTuple):
    """Checked columns of N measurements: s/mm², unit vectors, ms."""

    bvals: Tensor
    bvecs: Tensor
    small_delta: Tensor
    big_delta: Tensor
    echo_time: Tensor


def row(index: int) -> str:
    """Return the name of a measurement of an array, counted from 0."""
    return f"row {index}"


def checked_protocol(
    bvals: object,
    bvecs: object,
    small_delta: object,
    big_delta: object,
    echo_time: object,
    *,
    place: Place = row,
) -> Protocol:
    """Return the columns as float64 tensors of length N, with `bvecs` normalised.

    Raises
    ------
    InputError
        When a shape, a sign, a norm, a timing or a unit is wrong.
    """
    directions = matrix(bvecs, "bvecs")
    b = column(bvals, "bvals", directions)
    check_bvals(b, place=place)
    timings = checked_timings(small_delta, big_delta, echo_time, directions, place=place)
    return Protocol(b, unit_directions(directions, b, place=place), *timings)


def checked_timings(
    small_delta: object, big_delta: object, echo_time: object, like: Tensor, *, place: Place = row
) -> tuple[Tensor, Tensor, Tensor]:
    """Return δ, Δ and echo time (N,) in ms, N being the length of `like`; an absent echo time is δ + Δ."""
    delta = _times(small_delta, "small_delta", like, place=place)
    Delta = _times(big_delta, "big_delta", like, place=place)
    wrong = _first(delta > Delta * (1 + _ROUNDING))
    if wrong is not None:
        raise InputError(
            f"{place(wrong)}: small_delta {_number(delta[wrong])} ms exceeds big_delta "
            f"{_number(Delta[wrong])} ms; expected small_delta ≤ big_delta"
        )
    return delta, Delta, checked_echo_time(echo_time, delta, Delta, Pgse(), place=place)


def checked_echo_time(
    echo_time: object, delta: Tensor, Delta: Tensor, waveform: AbstractWaveform, *, place: Place = row
) -> Tensor:
    """Return the echo time (N,), ms; an absent one is the end of `waveform`."""
    if isinstance(waveform, AbstractPulses):
        _check_pulses(waveform, delta, Delta, place=place)
    end = waveform.duration(delta, Delta)
    if echo_time is None:
        return end
    echo = column(echo_time, "echo_time", delta)
    check_finite(echo, "echo_time", "ms", place=place)
    wrong = _first(echo < end * (1 - _TEXT_ROUNDING))
    if wrong is not None:
        what = "small_delta + big_delta = " if type(waveform) is Pgse else ""
        last = "the second pulse ends" if type(waveform) is Pgse else f"the gradients of {waveform} end"
        raise InputError(
            f"{place(wrong)}: echo_time {_number(echo[wrong])} ms is shorter than {what}"
            f"{_number(end[wrong])} ms, when {last}"
        )
    wrong = _first(echo > 2 * LONGEST_TIME)
    if wrong is not None:
        raise InputError(f"{place(wrong)}: echo_time {_number(echo[wrong])} is too long; expected ms")
    return echo


def _check_pulses(waveform: AbstractPulses, delta: Tensor, Delta: Tensor, *, place: Place) -> None:
    pulse = waveform.pulse_duration(delta)
    wrong = _first(pulse > Delta * (1 + _ROUNDING))
    if wrong is not None:
        raise InputError(
            f"{place(wrong)}: a pulse of {_number(pulse[wrong])} ms exceeds big_delta "
            f"{_number(Delta[wrong])} ms; expected pulses that do not overlap"
        )
    for small_delta in delta.unique().tolist():
        waveform.breaks(small_delta)


def float64(value: object, name: str) -> Tensor:
    """Return `value` as a float64 tensor; a tensor keeps its device and its derivative."""
    if isinstance(value, Tensor):
        kind = "c" if value.is_complex() else "b" if value.dtype == torch.bool else "f"
        array = value
    else:
        try:
            numbers = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{name}: expected numbers, got {value!r:.80}") from error
        kind = numbers.dtype.kind
        if kind in "iuf":
            array = torch.from_numpy(numbers.astype(np.float64))
    if kind not in "iuf":
        raise InputError(f"{name}: expected real numbers, got {value!r:.80}")
    return array.double()


def matrix(value: object, name: str) -> Tensor:
    """Return `value` as a float64 tensor (N, 3), N ≥ 1."""
    array = float64(value, name)
    if array.ndim != 2 or array.shape[1] != 3:
        hint = "; transpose it" if array.ndim == 2 and array.shape[0] == 3 else ""
        raise InputError(f"{name}: expected shape (N, 3), got {tuple(array.shape)}{hint}")
    if len(array) == 0:
        raise InputError(f"{name}: expected at least one measurement, got shape {tuple(array.shape)}")
    return array


def column(value: object, name: str, like: Tensor) -> Tensor:
    """Return `value` as a float64 tensor (N,) on the device of `like` (N, ...); one number is repeated."""
    array = float64(value, name).to(like.device)
    if array.ndim == 0:
        return array.expand(len(like))
    if array.shape != (len(like),):
        raise InputError(
            f"{name}: expected one value or {len(like)} (one per direction), got shape {tuple(array.shape)}"
        )
    return array


def check_finite(array: Tensor, name: str, unit: str, *, place: Place = row) -> None:
    """Refuse NaN and infinity in `array` (N,) or (N, 3)."""
    finite = torch.isfinite(array.detach())
    wrong = _first(~(finite if array.ndim == 1 else finite.all(dim=1)))
    if wrong is not None:
        raise InputError(f"{place(wrong)}: {name} is {array[wrong].tolist()}; expected finite ({unit})")


def check_bvals(bvals: Tensor, *, place: Place = row) -> None:
    """Refuse b-values (N,) that are not finite, negative, or not in s/mm²."""
    check_finite(bvals, "bval", "s/mm²", place=place)
    wrong = _first(bvals < 0)
    if wrong is not None:
        raise InputError(f"{place(wrong)}: b-value {_number(bvals[wrong])} is negative; expected ≥ 0 (s/mm²)")
    wrong = _first(bvals > LARGEST_BVAL * (1 + _ROUNDING))
    if wrong is not None:
        raise InputError(
            f"{place(wrong)}: b-value {_number(bvals[wrong])} exceeds {LARGEST_BVAL:g}; expected s/mm²"
        )
    largest = float(bvals.detach().max())
    if 0 < largest < SMALLEST_BVAL * (1 - _ROUNDING):
        raise InputError(
            f"bvals: the largest is {largest:g}, which looks like ms/µm²; expected s/mm² "
            "(1 ms/µm² = 1000 s/mm²)"
        )


def unit_directions(directions: Tensor, bvals: Tensor, *, place: Place = row) -> Tensor:
    """Return `directions` (N, 3) normalised; a zero row is allowed where b = 0."""
    check_finite(directions, "bvec", "a unit vector", place=place)
    squared = (directions**2).sum(dim=1)
    zero = squared.detach() == 0
    # The square root of zero has no derivative, so zero rows never reach it.
    norms = squared.where(~zero, squared.new_ones(())).sqrt()
    wrong = _first((zero & (bvals > 0)) | ((norms - 1).abs() > NORM_TOLERANCE))
    if wrong is not None:
        length = 0.0 if zero[wrong] else float(norms[wrong].detach())
        raise InputError(
            f"{place(wrong)}: direction {_vector(directions[wrong])} has length {length:.6g}; "
            f"expected a unit vector (within {NORM_TOLERANCE:g})"
        )
    return directions / norms[:, None]


def _times(value: object, name: str, like: Tensor, *, place: Place) -> Tensor:
    times = column(value, name, like)
    check_finite(times, name, "ms", place=place)
    wrong = _first(times <= 0)
    if wrong is not None:
        raise InputError(f"{place(wrong)}: {name} is {_number(times[wrong])}; expected positive (ms)")
    wrong = _first((times < SHORTEST_TIME * (1 - _ROUNDING)) | (times > LONGEST_TIME * (1 + _ROUNDING)))
    if wrong is not None:
        raise InputError(
            f"{place(wrong)}: {name} {_number(times[wrong])} is outside "
            f"{SHORTEST_TIME:g} … {LONGEST_TIME:g}; expected ms"
        )
    return times


def _first(mask: Tensor) -> int | None:
    rows = mask.nonzero()
    return int(rows[0, 0]) if len(rows) else None


def _number(value: Tensor) -> str:
    return f"{float(value.detach()):.9g}"


def _vector(value: Tensor) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in value.tolist()) + ")"

"""A pair of chart axes in SVG: data to drawing coordinates, ticks, grid and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from .numerals import short


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic map of the data range `low` … `high` to the drawing range `start` … `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False
    fixed_ticks: tuple[float, ...] = ()

    def __call__(self, value: np.ndarray | float) -> np.ndarray:
        """Return drawing coordinates of `value`, clipped to the range."""
        low, high = self._transform(self.low), self._transform(self.high)
        clipped = np.clip(np.asarray(value, dtype=float), self.low, self.high)
        part = (self._transform(clipped) - low) / (high - low)
        return np.asarray(self.start + part * (self.end - self.start))

    @property
    def ticks(self) -> list[float]:
        """`fixed_ticks`, or round numbers: decades where logarithmic, else steps of 1, 2 or 5 × 10ⁿ."""
        if self.fixed_ticks:
            return list(self.fixed_ticks)
        return _decades(self.low, self.high) if self.logarithmic else _steps(self.low, self.high)

    def _transform(self, value: np.ndarray | float) -> np.ndarray:
        return np.log10(value) if self.logarithmic else np.asarray(value, dtype=float)


def linear_scale(
    values: Sequence[float] | np.ndarray, start: float, end: float, *, margin: float = 0.04
) -> Scale:
    """Return a linear scale that holds the finite `values` with a relative `margin` on both sides."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = high - low or abs(high) or 1.0
    return Scale(low - margin * span, high + margin * span, start, end)


def log_scale(values: Sequence[float] | np.ndarray, start: float, end: float) -> Scale:
    """Return a logarithmic scale that holds the positive finite `values`, widened to at least one decade."""
    positive = np.asarray(values, dtype=float)
    positive = positive[np.isfinite(positive) & (positive > 0)]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.1, 1.0)
    low, high = low / 1.3, high * 1.3
    widen = max(1.0, math.sqrt(10 * low / high))
    return Scale(low / widen, high * widen, start, end, logarithmic=True)


def frame(x: Scale, y: Scale, *, x_label: str, y_label: str, x_ticks: bool = True) -> str:
    """Return grid, axis lines, tick numbers and labels as SVG.

    `x_ticks=False` leaves out numbers and label of the x axis, for a chart above another that has them.
    """
    parts = []
    for tick in x.ticks:
        at = float(x(tick))
        parts.append(f'<path class="grid" d="M{at:.1f} {y.start:.1f}V{y.end:.1f}"/>')
        if x_ticks:
            below = y.start + 15
            parts.append(
                f'<text class="tick" x="{at:.1f}" y="{below:.1f}" text-anchor="middle">{short(tick)}</text>'
            )
    for tick in y.ticks:
        at = float(y(tick))
        parts.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
        left = x.start - 6
        parts.append(
            f'<text class="tick" x="{left:.1f}" y="{at + 3.5:.1f}" text-anchor="end">{short(tick)}</text>'
        )
    parts.append(f'<path class="axis" d="M{x.start:.1f} {y.end:.1f}V{y.start:.1f}H{x.end:.1f}"/>')
    middle = (y.start + y.end) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" '
        f'transform="translate({x.start - 44:.1f} {middle:.1f}) rotate(-90)">{escape(y_label)}</text>'
    )
    if x_ticks and x_label:
        centre = (x.start + x.end) / 2
        parts.append(
            f'<text class="label" x="{centre:.1f}" y="{y.start + 33:.1f}" text-anchor="middle">'
            f"{escape(x_label)}</text>"
        )
    return "".join(parts)


def dots(x: np.ndarray, y: np.ndarray, *, colour: str, size: float = 4.0, opacity: float = 0.75) -> str:
    """Return round markers at drawing coordinates as one path: a dot is a line of no length, caps round."""
    path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True) if math.isfinite(a + b))
    return (
        f'<path d="{path}" fill="none" stroke="{escape(colour)}" stroke-width="{size:g}" '
        f'stroke-linecap="round" stroke-opacity="{opacity:g}"/>'
    )


def line(x: np.ndarray, y: np.ndarray, *, colour: str, width: float = 1.5, opacity: float = 1.0) -> str:
    """Return a polyline through drawing coordinates."""
    pairs = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True) if math.isfinite(a + b)]
    return (
        f'<path d="M{"L".join(pairs)}" fill="none" stroke="{escape(colour)}" stroke-width="{width:g}" '
        f'stroke-linejoin="round" stroke-opacity="{opacity:g}"/>'
        if pairs
        else ""
    )


def svg(width: float, height: float, *, title: str, body: str) -> str:
    """Return a chart that scales with its column; `title` is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, math.ceil((last - first) / 7))
    decades = [10.0**k for k in range(first, last + 1, stride)]
    if last - first > 1:
        return decades
    fine = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5)]
    return [value for value in fine if low <= value <= high]


def _steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]

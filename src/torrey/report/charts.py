"""The charts of the report as SVG strings; pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from ..inverse.result import Iteration
from .axes import Scale, dots, frame, line, linear_scale, log_scale, svg
from .grouping import BvalGroup, Timing

WIDTH = 440.0
LEFT, RIGHT = 58.0, 428.0
# dark blue to orange, ordered in lightness: b-values stay apart for every kind of colour vision and in grey
RAMP = ("#0d0050", "#4a1a9c", "#9c2f8f", "#d4475f", "#ea8a1c")
LEGEND_ENTRIES = 8
"""Of more b-values than this the legend names some, lowest and highest among them."""
BEST, OTHER, ACCENT = "#0072b2", "#8a8f98", "#d55e00"


def group_colours(n_groups: int) -> list[str]:
    """Return `n_groups` colours from the ramp, lowest b first."""
    anchors = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in RAMP], dtype=float)
    at = np.linspace(0, len(RAMP) - 1, n_groups) if n_groups > 1 else np.array([0.0])
    channels = [np.interp(at, np.arange(len(RAMP)), anchors[:, i]).round().astype(int) for i in range(3)]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in zip(*channels, strict=True)]


def signal_panel(
    timing: Timing,
    groups: Sequence[BvalGroup],
    *,
    angle: np.ndarray,
    measured: np.ndarray,
    predicted: np.ndarray,
    residual: np.ndarray,
    signal_label: str,
    residual_range: float,
) -> str:
    """Return one timing: measured (dots) and predicted (lines) over the `angle` (N,) to the longest axis.

    Residuals are drawn below: `residual` (N,) is (predicted − measured)/S(0), ±`residual_range` its axis.
    """
    x = Scale(0.0, 90.0, LEFT, RIGHT, fixed_ticks=(0, 15, 30, 45, 60, 75, 90))
    shown = np.concatenate([measured[timing.rows], predicted[timing.rows], [0.0]])
    y = linear_scale(shown, 232.0, 14.0)
    below = Scale(-1.05 * residual_range, 1.05 * residual_range, 324.0, 250.0)
    body = frame(x, y, x_label="", y_label=signal_label, x_ticks=False)
    body += frame(x, below, x_label="angle of gradient to longest axis (°)", y_label="residual / S(0)")
    for group, colour in zip(groups, group_colours(len(groups)), strict=True):
        rows = np.intersect1d(group.rows, timing.rows)
        rows = rows[np.argsort(angle[rows], kind="stable")]
        at = x(angle[rows])
        body += line(at, y(predicted[rows]), colour=colour)
        body += dots(at, y(measured[rows]), colour=colour, size=4.6)
        body += dots(at, below(residual[rows]), colour=colour, size=3.2)
    zero = float(below(0.0))
    body += f'<path class="zero" d="M{LEFT:.1f} {zero:.1f}H{RIGHT:.1f}"/>'
    return svg(WIDTH, 364, title=f"Measured and predicted signal, {timing.label}", body=body)


def scatter(
    groups: Sequence[BvalGroup], *, measured: np.ndarray, predicted: np.ndarray, signal_label: str
) -> str:
    """Return predicted against measured signal of all measurements, with the line of equality."""
    both = np.concatenate([measured, predicted])
    x, y = linear_scale(both, LEFT, RIGHT), linear_scale(both, 322.0, 14.0)
    body = frame(x, y, x_label=f"measured {signal_label}", y_label=f"predicted {signal_label}")
    ends = np.array([x.low, x.high])
    body += line(x(ends), y(ends), colour=OTHER, width=1.0)
    for group, colour in zip(groups, group_colours(len(groups)), strict=True):
        body += dots(x(measured[group.rows]), y(predicted[group.rows]), colour=colour, opacity=0.6)
    return svg(WIDTH, 364, title="Predicted against measured signal", body=body)


def legend(groups: Sequence[BvalGroup]) -> str:
    """Return the colours of the b-values and the meaning of dot and line as HTML."""
    colours = group_colours(len(groups))
    named = np.unique(np.linspace(0, len(groups) - 1, LEGEND_ENTRIES).round().astype(int))
    items = [
        '<li><svg viewBox="0 0 22 12" aria-hidden="true">'
        f"{line(np.array([1, 21]), np.array([6, 6]), colour=colours[k])}"
        f"{dots(np.array([11]), np.array([6]), colour=colours[k], size=6)}</svg>"
        f"b = {escape(groups[k].label)} s/mm²</li>"
        for k in named
    ]
    return f'<ul class="legend">{"".join(items)}<li>dots: measured</li><li>lines: predicted</li></ul>'


def misfit_curve(history: Sequence[Iteration], *, best: int) -> str:
    """Return the misfit of every start over its accepted iterates; `best` in colour, with its stages."""
    starts: dict[int, list[Iteration]] = {}
    for item in history:
        starts.setdefault(item.start, []).append(item)
    longest = max((len(items) for items in starts.values()), default=2)
    x = Scale(0.0, max(longest - 1.0, 1.0), LEFT, RIGHT)
    y = log_scale([item.misfit for item in history], 272.0, 24.0)
    body = frame(x, y, x_label="accepted iterate", y_label="misfit (rms / S(0))")
    for start, items in sorted(starts.items(), key=lambda pair: pair[0] == best):
        at, level = x(np.arange(len(items))), y(_positive([item.misfit for item in items]))
        if start == best:
            body += _stages(items, at, y)
            body += line(at, level, colour=BEST, width=2.2) + dots(
                at, level, colour=BEST, size=4.5, opacity=1
            )
        else:
            body += line(at, level, colour=OTHER, width=1.1, opacity=0.7)
    return svg(WIDTH, 314, title="Misfit of every start over its iterates, logarithmic", body=body)


def uncertainty_chart(standard_deviations: np.ndarray, *, shown: Sequence[int]) -> str:
    """Return σ (P,), µm, of each direction as bars on a log axis; those `shown` in the 3-D view in colour."""
    n_directions = len(standard_deviations)
    x = Scale(0.0, n_directions + 1.0, LEFT, RIGHT)
    y = log_scale([*standard_deviations[np.isfinite(standard_deviations)], 0.1, 0.3], 272.0, 14.0)
    body = frame(x, y, x_label="direction, best determined first", y_label="standard deviation (µm)")
    width = min(14.0, 0.7 * (RIGHT - LEFT) / (n_directions + 1))
    # an open direction has no standard deviation: its bar runs to the top
    levels = y(np.where(np.isfinite(standard_deviations), standard_deviations, y.high))
    for k, level in enumerate(levels):
        colour = BEST if k in shown else OTHER
        centre, top = float(x(k + 1.0)), float(level)
        body += (
            f'<rect x="{centre - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{y.start - top:.1f}" fill="{colour}"/>'
        )
    for limit in (0.1, 0.3):
        at = float(y(limit))
        body += f'<path d="M{LEFT:.1f} {at:.1f}H{RIGHT:.1f}" class="limit"/>'
        body += f'<text class="tick" x="{LEFT + 4:.1f}" y="{at - 4:.1f}">{limit} µm</text>'
    return svg(WIDTH, 314, title="Standard deviation of each posterior direction, µm, logarithmic", body=body)


def _stages(items: Sequence[Iteration], at: np.ndarray, y: Scale) -> str:
    first = [k for k, item in enumerate(items) if k == 0 or item.stage != items[k - 1].stage]
    marks = ""
    last_label = -math.inf
    for k in first:
        marks += f'<path class="stage" d="M{at[k]:.1f} {y.start:.1f}V{y.end:.1f}"/>'
        # labels that would run into the one before are left out; the line stays
        if at[k] - last_label > 40:
            room = int(max(3, min(24, (RIGHT - at[k]) / 5.5)))
            name = escape(items[k].stage[:room])
            marks += f'<text class="tick" x="{at[k] + 2:.1f}" y="{y.end - 5:.1f}">{name}</text>'
            last_label = float(at[k]) + 5.5 * min(room, len(items[k].stage)) - 40
    return marks


def _positive(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    return np.where(array > 0, array, np.nan)

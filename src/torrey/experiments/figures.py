"""Figures of an experiment as SVG: means with error bars, lines over what varies, curves of convergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ..report.axes import Scale, dots, frame, line, linear_scale, log_scale, svg
from .recipe import Axis, Recipe
from .store import Record, TaskStore
from .tables import MEASURES, Spread, grouped, line_label, succeeded, value_text

WIDTH, HEIGHT = 560.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 546.0, 14.0, 284.0
# Okabe and Ito's colours, apart for every kind of colour vision
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DODGE = 7.0
"""Width between markers of one place."""

CURVES = {
    "misfit": "misfit (rms / S(0))",
    "d_prime": "d′ (µm)",
    "volume": "volume (µm³)",
    "latent": "latents",
}
"""What is drawn over the iterations, and its axis."""

STYLE = (
    "text{font-family:system-ui,sans-serif;fill:#1c2430}.grid{stroke:#e6e9ef;fill:none}"
    ".axis{stroke:#6b7482;fill:none}.tick{font-size:11.5px;fill:#465060}.label{font-size:12.5px}"
)


@dataclass(frozen=True)
class Figure:
    """A chart: what a caption says, and an SVG element that stands alone."""

    name: str
    caption: str
    svg: str


def figures_of(recipe: Recipe, records: Sequence[Record], store: TaskStore) -> list[Figure]:
    """Return the figures of an experiment: for each setting, and for curves for each family."""
    good = succeeded(records)
    figures: list[Figure] = []
    for (setting,), of_setting in grouped(good, "setting").items():
        if recipe.figure == "curves":
            for (family,), group in grouped(of_setting, "family").items():
                figures += _curves(recipe, f"{setting}_{family}", group, store)
        else:
            for measure in ("d_prime", "misfit"):
                name = f"{setting}_{measure}"
                caption = f"{MEASURES[measure]}, {setting} setting"
                measured = [record for record in of_setting if measure in record.values]
                if measured:
                    figures.append(Figure(name, caption, _points(recipe, measured, measure, caption)))
    return figures


def _points(recipe: Recipe, records: Sequence[Record], measure: str, title: str) -> str:
    """Return means with standard deviations: of families along x, or along `vary` with lines between."""
    axis = recipe.vary
    families = [family for (family,) in grouped(records, "family")]
    places: Sequence[object] = families if axis is None else axis.values
    at = _places(axis, len(places))
    lines = _lines(recipe, records)
    spreads = {
        (label, k): Spread.of(values)
        for label, group in lines.items()
        for k, place in enumerate(places)
        if (values := [r.values[measure] for r in group if _is_at(r, axis, place)])
    }
    every = [*spreads.values()]
    y = log_scale([s.mean for s in every] + [s.mean + s.sd for s in every], BOTTOM, TOP)
    x = Scale(at[0] - 0.5, at[-1] + 0.5, LEFT, RIGHT) if _is_named(axis) else linear_scale(at, LEFT, RIGHT)
    texts = families if axis is None else [value_text(value) for value in axis.values]
    body = _frame(x, y, at, texts, x_label="" if axis is None else axis.label, y_label=MEASURES[measure])
    for n, label in enumerate(lines):
        colour = COLOURS[n % len(COLOURS)]
        there = [k for k in range(len(places)) if (label, k) in spreads]
        shift = DODGE * (n - (len(lines) - 1) / 2) * (1 if _is_named(axis) else 0)
        across = np.array([float(x(at[k])) + shift for k in there])
        means = np.array([spreads[label, k].mean for k in there])
        if axis is not None:
            body += line(across, y(_positive(means)), colour=colour)
        body += "".join(
            _error_bar(a, spreads[label, k], y, colour) for a, k in zip(across, there, strict=True)
        )
        body += dots(across, y(_positive(means)), colour=colour, size=6, opacity=1)
    return _standing_alone(body, list(lines), title)


def _lines(recipe: Recipe, records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return records by the name of their line."""
    named: dict[str, list[Record]] = {}
    for record in records:
        named.setdefault(line_label(recipe, record), []).append(record)
    return named


def _curves(recipe: Recipe, name: str, records: Sequence[Record], store: TaskStore) -> list[Figure]:
    """Return a chart for each of `CURVES` that some task has, over its iterations."""
    arrays = {record.key: store.arrays(record.key) for record in records}
    figures = []
    for kind, y_label in CURVES.items():
        have = [(r, arrays[r.key][f"curve_{kind}"]) for r in records if f"curve_{kind}" in arrays[r.key]]
        if not have:
            continue
        values = np.concatenate([curve.ravel() for _, curve in have])
        last = max(float(arrays[record.key]["curve_iteration"][-1]) for record, _ in have)
        x = Scale(0.0, max(last, 1.0), LEFT, RIGHT)
        # latents have either sign
        scale: Callable[..., Scale] = linear_scale if kind in ("latent", "volume") else log_scale
        y = scale(values, BOTTOM, TOP)
        body = frame(x, y, x_label="iteration", y_label=y_label)
        labels = list(dict.fromkeys(recipe.method[r.spec["method"]].label for r, _ in have))
        for record, curve in have:
            colour = COLOURS[labels.index(recipe.method[record.spec["method"]].label) % len(COLOURS)]
            for row in np.atleast_2d(curve.T):
                at = x(arrays[record.key]["curve_iteration"])
                body += line(at, y(row), colour=colour, opacity=0.8)
        caption = f"{y_label} over the iterations, {name.replace('_', ' setting, ')}"
        figures.append(Figure(f"{name}_{kind}", caption, _standing_alone(body, labels, caption)))
    return figures


def _places(axis: Axis | None, count: int) -> list[float]:
    if axis is None or _is_named(axis):
        return [float(k) for k in range(count)]
    return [float(value) for value in axis.values]  # type: ignore[arg-type]


def _is_named(axis: Axis | None) -> bool:
    """Whether places along the axis have names rather than numbers."""
    return axis is None or any(isinstance(value, tuple) for value in axis.values)


def _is_at(record: Record, axis: Axis | None, place: object) -> bool:
    if axis is None:
        return bool(record.spec["family"] == place)
    return _value(record.spec["point"][axis.name]) == place


def _value(value: float | list[float]) -> float | tuple[float, ...]:
    return tuple(value) if isinstance(value, list) else value


def _frame(
    x: Scale, y: Scale, at: Sequence[float], texts: Sequence[str], *, x_label: str, y_label: str
) -> str:
    """Return the frame with `texts` for the places `at` along x, slanted where they are many."""
    bare = Scale(x.low, x.high, x.start, x.end, fixed_ticks=tuple(at))
    body = frame(bare, y, x_label="", y_label=y_label, x_ticks=False)
    slanted = sum(map(len, texts)) > 60
    for place, text in zip(at, texts, strict=True):
        across = float(x(place))
        turn = f' transform="rotate(-35 {across:.1f} {BOTTOM + 14:.1f})"' if slanted else ""
        anchor = "end" if slanted else "middle"
        body += (
            f'<text class="tick" x="{across:.1f}" y="{BOTTOM + 15:.1f}" text-anchor="{anchor}"{turn}>'
            f"{escape(text)}</text>"
        )
    below = BOTTOM + (62 if slanted else 34)
    return body + (
        f'<text class="label" x="{(LEFT + RIGHT) / 2:.1f}" y="{below:.1f}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )


def _error_bar(across: float, spread: Spread, y: Scale, colour: str) -> str:
    """Return mean ± standard deviation as a bar with caps; where it reaches zero it runs to the frame."""
    high, low = float(y(spread.mean + spread.sd)), float(y(max(spread.mean - spread.sd, y.low)))
    caps = "".join(f"M{across - 4:.1f} {level:.1f}h8" for level in (low, high))
    return f'<path d="M{across:.1f} {low:.1f}V{high:.1f}{caps}" stroke="{colour}" fill="none"/>'


def _standing_alone(body: str, labels: Sequence[str], title: str) -> str:
    """Return an SVG with its own style, and a legend below."""
    top = HEIGHT + 12
    for n, label in enumerate(labels):
        y, colour = top + 18 * n, COLOURS[n % len(COLOURS)]
        body += (
            f'<path d="M{LEFT} {y}h18" stroke="{colour}" stroke-width="2.5"/>'
            f'<text class="label" x="{LEFT + 26}" y="{y + 4}">{escape(label)}</text>'
        )
    whole = svg(WIDTH, top + 18 * len(labels), title=title, body=f"<style>{STYLE}</style>{body}")
    return whole.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, math.nan)

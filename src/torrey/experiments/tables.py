"""Tables of an experiment: mean and standard deviation over shapes and repeats, as TSV, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean, stdev
from typing import Any

from ..report.numerals import significant
from .recipe import Recipe
from .store import Record

MEASURES = {
    "d_prime": "d′ (µm)",
    "d_prime_vertices": "d′ of vertices (µm)",
    "misfit": "misfit (rms / S(0))",
    "volume_error": "error of volume",
}
"""What tasks measure, and what tables call it."""


@dataclass(frozen=True)
class Table:
    """Named columns of texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_tsv(self) -> str:
        """Return tab-separated values with a header."""
        return "".join("\t".join(row) + "\n" for row in (self.columns, *self.rows))

    def as_markdown(self) -> str:
        """Return a table of Markdown."""
        rule = ("---",) * len(self.columns)
        return "".join(f"| {' | '.join(row)} |\n" for row in (self.columns, rule, *self.rows))

    def as_html(self, caption: str) -> str:
        """Return a table of HTML."""
        head = "".join(f'<th scope="col">{escape(name)}</th>' for name in self.columns)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        return (
            f'<div class="wide"><table><caption>{escape(caption)}</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `n` numbers; the deviation of one is zero."""

    mean: float
    sd: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return that of `values`, at least one."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))

    def __str__(self) -> str:
        return f"{significant(self.mean)} ± {significant(self.sd, 2)}"


def grouped(records: Iterable[Record], *keys: str) -> dict[tuple[Any, ...], list[Record]]:
    """Return records by the values that their specs have for `keys`, in the order of first occurrence."""
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(_hashable(record.spec[key]) for key in keys), []).append(record)
    return groups


def succeeded(records: Iterable[Record]) -> list[Record]:
    """Return the records that have values."""
    return [record for record in records if record.error is None]


def main_table(recipe: Recipe, records: Sequence[Record]) -> Table:
    """Return the table in the paper's form: a row for each method and setting, a column for each family.

    Where something varies, its values are the columns.

    A cell is mean ± standard deviation of d′, µm, and of how many; published values are the last rows.
    """
    columns = list(dict.fromkeys(_column(recipe, record) for record in records))
    rows: dict[tuple[str, ...], dict[str, list[float]]] = {}
    for record in records:
        cells = rows.setdefault((line_label(recipe, record), record.spec["setting"]), {})
        values = cells.setdefault(_column(recipe, record), [])
        values += [record.values["d_prime"]] if record.error is None else []
    body = [(*names, *(_cell(cells.get(column, [])) for column in columns)) for names, cells in rows.items()]
    for label in dict.fromkeys(label for values in recipe.published.values() for label in values):
        known = {family: values[label] for family, values in recipe.published.items() if label in values}
        texts = (" ± ".join(map(significant, known[name])) if name in known else "–" for name in columns)
        body.append((f"{label}, published", "paper", *texts))
    return Table(("method", "setting", *columns), tuple(body))


def long_table(recipe: Recipe, records: Sequence[Record]) -> Table:
    """Return a row for each family, point, method and setting with mean and deviation of all `MEASURES`."""
    axes = [axis.name for axis in recipe.axes]
    columns = ["family", *axes, "setting", "method", "n", "failed", "seconds_mean"]
    columns += [f"{name}_{kind}" for name in MEASURES for kind in ("mean", "sd")]
    rows = []
    for (family, point, setting, method), group in grouped(
        records, "family", "point", "setting", "method"
    ).items():
        good = succeeded(group)
        at = dict(point)
        row = [family, *(value_text(at[name]) for name in axes), setting, recipe.method[method].label]
        row += [str(len(good)), str(len(group) - len(good))]
        row.append(f"{fmean(record.seconds for record in good):.4g}" if good else "")
        for name in MEASURES:
            # a network's guess has no misfit
            values = [record.values[name] for record in good if name in record.values]
            spread = Spread.of(values) if values else None
            row += [f"{spread.mean:.6g}", f"{spread.sd:.6g}"] if spread else ["", ""]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def raw_table(recipe: Recipe, records: Sequence[Record]) -> Table:
    """Return a row for each task: what it was, and its values or why it failed."""
    axes = [axis.name for axis in recipe.axes]
    columns = ("key", "family", "sample", *axes, "setting", "method", "repeat", "seconds", *MEASURES, "error")
    rows = []
    for record in records:
        spec = record.spec
        sample = "" if spec["sample"] is None else str(spec["sample"])
        values = [f"{record.values[name]:.8g}" if name in record.values else "" for name in MEASURES]
        at = [value_text(_hashable(spec["point"][name])) for name in axes]
        what = (record.key, spec["family"], sample, *at, spec["setting"], spec["method"], str(spec["repeat"]))
        rows.append((*what, f"{record.seconds:.3f}", *values, record.error or ""))
    return Table(columns, tuple(rows))


def value_text(value: float | tuple[float, ...]) -> str:
    """Return a value of an axis: several are joined by +."""
    return "+".join(f"{item:g}" for item in value) if isinstance(value, tuple) else f"{value:g}"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "failed"
    spread = Spread.of(values)
    return f"{spread} ({spread.n})"


def line_label(recipe: Recipe, record: Record) -> str:
    """Return what a line or a row stands for: the method, and the value of `lines`."""
    label = recipe.method[record.spec["method"]].label
    if recipe.lines is None:
        return label
    return f"{label}, {recipe.lines.label} {value_text(_hashable(record.spec['point'][recipe.lines.name]))}"


def _column(recipe: Recipe, record: Record) -> str:
    """Return the family, or where something varies its value."""
    if recipe.vary is None:
        return str(record.spec["family"])
    return f"{recipe.vary.label} {value_text(_hashable(record.spec['point'][recipe.vary.name]))}"


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value

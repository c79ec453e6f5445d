"""How the error fell in training, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...text_files import write_text

Curve = Sequence[dict[str, float]]
"""Rows with the same names; the last is `validation_error`, µm."""


def write_curve(path: Path, curve: Curve) -> None:
    """Write `curve` as tab-separated values under their names."""
    rows = [list(curve[0]), *([f"{value:.6g}" for value in row.values()] for row in curve)]
    write_text(path, "".join("\t".join(row) + "\n" for row in rows))

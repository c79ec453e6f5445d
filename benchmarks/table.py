"""Print a table and keep it under benchmarks/results with the machine that made it."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Name the processor, the cores in use, and the versions that matter."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {version(name)}" for name in ("torrey", "torch", "numpy", "scipy"))
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}; {date.today()}"


def save_table(name: str, notes: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print `rows` under `header` and write them with `notes` to benchmarks/results/NAME.txt."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    text = "\n".join([*(note.strip() + "\n" for note in notes), *lines]) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.txt").write_text(text, encoding="utf-8")

"""The live line of a run on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..report.numerals import duration, significant
from ..terminal import SECONDS_BETWEEN_LINES
from .run import Status


@contextmanager
def showing(what: str) -> Iterator[Callable[[Status], None]]:
    """Yield the callback that shows the `Status` of a run of `what`: a bar on a terminal, else some lines."""
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def say(status: Status) -> None:
            if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                print(f"torrey: {what}: {describe(status)}", file=sys.stderr)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn(what), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(status: Status) -> None:
            ended = status.before + status.done + status.failed
            bar.update(task, description=describe(status), completed=ended, total=status.total)

        yield show


def describe(status: Status) -> str:
    """Return "12 of 60 done, 2 running, 1 failed, 3.1 a minute, 15 min 12 s left"."""
    parts = [f"{status.before + status.done} of {status.total} done", f"{status.running} running"]
    if status.failed:
        parts.append(f"{status.failed} failed")
    if status.seconds_left is not None:
        parts.append(f"{significant(60 * status.rate, 2)} a minute")
        parts.append(f"{duration(status.seconds_left)} left")
    return ", ".join(parts)

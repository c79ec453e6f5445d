"""How the command meets its user: what it is given, and what it says on stderr while it works."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .errors import AccuracyWarning

if TYPE_CHECKING:
    from .inverse.result import Iteration

Output = Annotated[Path, Parameter(name=["--output", "-o"])]
"""What a command writes to."""

SECONDS_BETWEEN_LINES = 10.0
"""Off a terminal, progress is one line at most this often."""


def one_line(text: object) -> str:
    """Return `text` with every run of white space as one space."""
    return " ".join(str(text).split())


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each `AccuracyWarning` as one line on stderr, the same one once."""
    said: set[str] = set()

    with warnings.catch_warnings():
        warnings.simplefilter("always", AccuracyWarning)
        otherwise = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, AccuracyWarning):
                otherwise(message, category, *place, **more)
            elif (text := one_line(message)) not in said:
                said.add(text)
                print(f"torrey: warning: {text}", file=sys.stderr)

        warnings.showwarning = show
        yield


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM, as `kill`, `timeout` and Slurm send it: workers end too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # handlers are the main thread's
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner beside `what` on a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield the callback that shows how many of how many are done of `what`."""
    if not sys.stderr.isatty():
        last = [time.monotonic()]

        def say(done: int, total: int) -> None:
            if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
                last[0] = time.monotonic()
                print(f"torrey: {what}: {done} of {total}", file=sys.stderr)

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def fitting(n_starts: int | None) -> Iterator[Callable[[Iteration], None]]:
    """Yield the callback that shows the misfit of a running reconstruction of `n_starts`, where known."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=n_starts)
        best = [float("inf")]

        def show(iteration: Iteration) -> None:
            best[0] = min(best[0], iteration.misfit)
            text = f"{_describe(iteration)}, best {best[0]:.2e}"
            bar.update(task, description=text, completed=iteration.start)

        yield show


def _lines() -> Callable[[Iteration], None]:
    last = [time.monotonic()]

    def show(iteration: Iteration) -> None:
        if time.monotonic() - last[0] >= SECONDS_BETWEEN_LINES:
            last[0] = time.monotonic()
            print(f"torrey: {_describe(iteration)}", file=sys.stderr)

    return show


def _describe(iteration: Iteration) -> str:
    return (
        f"start {iteration.start + 1}, {iteration.stage}, iteration {iteration.iteration}, "
        f"misfit {iteration.misfit:.2e}"
    )

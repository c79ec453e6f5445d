"""`run_tasks`: compute the tasks that a store lacks, on any executor of `concurrent.futures`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from .store import Record, TaskStore
from .task import Attempt, Spec, TaskFunction, attempt, task_key

_SECONDS_BETWEEN_REPORTS = 0.25


@dataclass(frozen=True)
class Status:
    """How far a run is: tasks in all, done before it, done and failed by it, in work, and seconds since."""

    total: int
    before: int
    done: int
    failed: int
    running: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks ended per second of this run."""
        return (self.done + self.failed) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Expected, at the rate so far; None while nothing has ended."""
        left = self.total - self.before - self.done - self.failed
        return left / self.rate if self.rate > 0 else None


def run_tasks(
    function: TaskFunction,
    specs: Sequence[Spec],
    store: TaskStore,
    executor: Executor,
    *,
    retries: int = 3,
    progress: Callable[[Status], None] | None = None,
) -> list[Record]:
    """Compute `function` of those `specs` that `store` lacks; return how all of them ended, in their order.

    A task that raises is kept as failed with its message, and tried again by the next run. A task whose
    worker died is tried again at once. An interrupt ends the workers and leaves the store whole: the next run
    goes on from there, to the same results, as a task depends on its spec alone.

    Parameters
    ----------
    function : callable
        Spec → Outcome, importable in another process.
    specs : sequence
        One for each task.
    store : TaskStore
        Open; holds what is done.
    executor : Executor
        Where tasks run; it is shut down when an interrupt or an error ends the run.
    retries : int
        How often a task is tried again whose worker died.
    progress : callable, optional
        Called with the `Status` a few times a second, and when all has ended.
    """
    by_key = {task_key(spec): spec for spec in specs}
    missing = {key: spec for key, spec in by_key.items() if not store.has(key)}
    run = _Run(function, store, executor, retries)
    began, before = time.monotonic(), len(by_key) - len(missing)
    reported = began
    try:
        for spec in missing.values():
            run.submit(spec)
        while run.n_pending:
            run.collect(timeout=_SECONDS_BETWEEN_REPORTS)
            now = time.monotonic()
            if progress is not None and (now - reported >= _SECONDS_BETWEEN_REPORTS or not run.n_pending):
                reported, ended = now, len(missing) - run.n_pending
                progress(
                    Status(
                        total=len(by_key),
                        before=before,
                        done=ended - run.n_failed,
                        failed=run.n_failed,
                        running=run.n_running,
                        seconds=now - began,
                    )
                )
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    records = [store.record(task_key(spec)) for spec in specs]
    return [record for record in records if record is not None]


class _Run:
    """The tasks that are submitted and not yet stored."""

    def __init__(self, function: TaskFunction, store: TaskStore, executor: Executor, retries: int) -> None:
        self._function, self._store, self._executor, self._retries = function, store, executor, retries
        self._tasks: dict[Future[Attempt], tuple[Spec, int]] = {}
        self._ended: SimpleQueue[Future[Attempt]] = SimpleQueue()
        self.n_failed = 0

    @property
    def n_pending(self) -> int:
        return len(self._tasks)

    @property
    def n_running(self) -> int:
        return sum(future.running() for future in self._tasks)

    def submit(self, spec: Spec, *, lost: int = 0) -> None:
        """Submit a task, whose worker died `lost` times."""
        future = self._executor.submit(attempt, self._function, spec)
        self._tasks[future] = spec, lost
        # a queue, as to wait for all futures takes longer the more they are
        future.add_done_callback(self._ended.put)

    def collect(self, *, timeout: float) -> None:
        """Wait for the next task to end, at most `timeout` seconds, and store how it did."""
        try:
            future = self._ended.get(timeout=timeout)
        except Empty:
            return
        spec, lost = self._tasks.pop(future)
        error = future.exception()
        if error is None:
            self._keep(spec, future.result())
        elif isinstance(error, BrokenExecutor) and lost < self._retries:
            self.submit(spec, lost=lost + 1)
        else:
            self.n_failed += 1
            self._store.add_failure(spec, f"{error}, in the last of {lost + 1} tries")

    def _keep(self, spec: Spec, made: Attempt) -> None:
        if made.outcome is not None:
            self._store.add(spec, made.outcome, seconds=made.seconds)
        else:
            self.n_failed += 1
            self._store.add_failure(spec, made.error, seconds=made.seconds, traceback=made.traceback)

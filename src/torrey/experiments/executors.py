"""Where tasks run: executors of `concurrent.futures` for processes of this machine, Dask and Slurm.

A task whose worker died raises `concurrent.futures.BrokenExecutor`; the executor is whole again by then, so
that the task can be submitted once more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

from ..errors import InputError, MissingLibraryError

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A fit's matrices are small: on shared cores, threads that wait for each other cost several times more."""

SECONDS_TO_ANSWER = 5.0
"""How long a Dask scheduler may take to answer."""

_CONTEXT = get_context("spawn")
_starting = Lock()


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalProcesses(Executor):
    """Processes of this machine, each with one thread of BLAS; one that dies is replaced.

    `concurrent.futures.ProcessPoolExecutor` gives up all that is submitted when a worker dies, and does not
    say on which task. Here each worker has its own pipe, on which the death is heard at once.

    Parameters
    ----------
    n_workers : int
        Processes; those of all available cores by default.
    """

    def __init__(self, n_workers: int | None = None) -> None:
        n_workers = available_cores() if n_workers is None else n_workers
        if n_workers < 1:
            raise InputError(f"workers: expected at least 1, got {n_workers}")
        # a thread waits for each process; futures and their queue are the thread pool's
        self._threads = ThreadPoolExecutor(n_workers)
        self._workers: list[_Worker | None] = [None] * n_workers
        self._idle: SimpleQueue[int] = SimpleQueue()
        self._closed = False
        for slot in range(n_workers):
            self._idle.put(slot)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return [worker.pid for worker in list(self._workers) if worker is not None]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn`, which a process must be able to import, as soon as a worker is free."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers: after what is submitted where `wait`, else at once."""
        if not wait:
            self._closed = True
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._kill()
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures)
        self._kill()

    def _kill(self) -> None:
        for slot, worker in enumerate(self._workers):
            if worker is not None:
                worker.kill()
                self._workers[slot] = None

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        slot = self._idle.get()
        try:
            worker = self._workers[slot]
            if worker is None:
                worker = self._workers[slot] = _Worker()
            if self._closed:
                raise BrokenExecutor("the executor was shut down")
            try:
                return worker.call(fn, args, kwargs)
            except BrokenExecutor:
                self._workers[slot] = None
                raise
        finally:
            self._idle.put(slot)


class _Worker:
    """One process, and this end of the pipe to it."""

    def __init__(self) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_serve, args=(theirs,), daemon=True)
        with _starting, _environment(ONE_THREAD):
            self._process.start()
        # else the death of the process would not close the pipe
        theirs.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            self._pipe.send((fn, args, kwargs))
            value, error = self._pipe.recv()
        except (EOFError, ConnectionError) as lost:
            self._process.join()
            raise BrokenExecutor(f"a worker died with exit code {self._process.exitcode}") from lost
        if error is not None:
            raise error
        return value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection) -> None:
    """Answer calls until the other end closes: the parent ended, even if by a kill."""
    # Ctrl-C reaches the whole group of processes; what becomes of the workers is for the parent to say
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            fn, args, kwargs = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[Any, Exception | None] = fn(*args, **kwargs), None
        except Exception as error:  # the caller raises it
            answer = None, error
        try:
            pipe.send(answer)
        except ConnectionError:
            return
        except Exception as error:  # what cannot be pickled is the task's failure, not the worker's
            pipe.send(
                (None, RuntimeError(f"{type(error).__name__}: {error}; the answer was {answer!r:.200}"))
            )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def dask_executor(address: str, *, timeout: float = SECONDS_TO_ANSWER) -> Executor:
    """Return an executor on the workers of a running Dask scheduler, such as tcp://10.0.0.1:8786.

    Its workers need this version of Torrey. Dask itself runs a task again whose worker died.

    Raises
    ------
    InputError
        When nothing answers at `address` within `timeout` seconds, or no worker is there.
    MissingLibraryError
        Without `distributed`.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingLibraryError(
            'scheduler: an address needs distributed; install it with pip install "torrey[cluster]"'
        ) from error
    try:
        client = Client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"scheduler: {address} does not answer in {timeout:g} s; "
            "expected the address of a Dask scheduler, such as tcp://10.0.0.1:8786"
        ) from error
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        client.close()
        raise InputError(f"scheduler: {address} has no workers; start some with dask worker") from error
    executor: Executor = client.get_executor()
    return executor


class SubmititJobs(Executor):
    """One job of a cluster for each task, through submitit; at most `n_jobs` are queued at a time.

    Parameters
    ----------
    folder : Path
        For the logs of the jobs, seen by all machines.
    n_jobs : int
        Jobs queued or running.
    cluster : str
        "slurm", or "local" for processes that stand in for it.
    options : dict
        Of `submitit.AutoExecutor.update_parameters`: timeout_min, slurm_partition and so on.

    Raises
    ------
    InputError
        When the cluster is not there.
    MissingLibraryError
        Without `submitit`.
    """

    def __init__(
        self, folder: Path, *, n_jobs: int = 32, cluster: str = "slurm", options: dict[str, Any] | None = None
    ) -> None:
        try:
            import submitit
        except ImportError as error:
            raise MissingLibraryError(
                'scheduler: slurm needs submitit; install it with pip install "torrey[cluster]"'
            ) from error
        try:
            self._cluster = submitit.AutoExecutor(folder, cluster=cluster)
        except RuntimeError as error:
            raise InputError(f"scheduler: {cluster} is not there: {error}") from error
        usual = {"name": "torrey", "cpus_per_task": 1, "timeout_min": 60}
        self._cluster.update_parameters(**usual | (options or {}))
        self._lost: type[Exception] = submitit.core.utils.UncompletedJobError
        self._threads = ThreadPoolExecutor(n_jobs)
        self._jobs: set[Any] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` as a job once fewer than `n_jobs` are queued."""
        return self._threads.submit(self._run, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End when the jobs have, or cancel them where `wait` is False."""
        if not wait:
            for job in list(self._jobs):
                job.cancel()
        self._threads.shutdown(wait=True, cancel_futures=cancel_futures or not wait)

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _starting, _environment(ONE_THREAD):  # a job inherits it
            job = self._cluster.submit(fn, *args, **kwargs)
        self._jobs.add(job)
        try:
            return job.result()
        except self._lost as error:
            raise BrokenExecutor(
                f"job {job.job_id} ended without a result; see {job.paths.stderr}"
            ) from error
        finally:
            self._jobs.discard(job)

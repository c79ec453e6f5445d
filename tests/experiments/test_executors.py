"""Dask and submitit do as local processes do; skipped where they are not installed."""

import os
import socket
import sys
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import cheap_tasks
import pytest

from torrey.errors import InputError, MissingLibraryError
from torrey.experiments.executors import LocalProcesses, SubmititJobs, dask_executor
from torrey.experiments.run import run_tasks
from torrey.experiments.store import TaskStore

SPECS = [{"index": index} for index in range(4)]


def results(folder, executor, function=cheap_tasks.random_walk):
    with TaskStore(folder, {}) as store:
        return [
            (record.values, record.error) for record in run_tasks(function, SPECS, store, executor, retries=0)
        ]


def here(folder):
    with ThreadPoolExecutor(1) as executor:
        return results(folder, executor)


def test_submitit_gives_what_this_process_gives(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # a job is another Python
    with SubmititJobs(tmp_path / "logs", n_jobs=4, cluster="local") as executor:
        assert results(tmp_path / "jobs", executor) == here(tmp_path / "here")


def test_without_slurm_there_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="scheduler: slurm is not there"):
        SubmititJobs(tmp_path)


def test_dask_gives_what_this_process_gives(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        dask_executor(cluster.scheduler_address) as executor,
    ):
        assert results(tmp_path / "dask", executor) == here(tmp_path / "here")


def test_an_address_where_nothing_answers():
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"scheduler: {address} does not answer in 0.5 s"):
            dask_executor(address, timeout=0.5)


def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(MissingLibraryError, match=r"torrey\[cluster\]"):
        dask_executor("tcp://127.0.0.1:1")
    with pytest.raises(MissingLibraryError, match=r"torrey\[cluster\]"):
        SubmititJobs(tmp_path)


def test_a_local_worker_that_died_is_replaced():
    with LocalProcesses(1) as executor:
        assert executor.submit(abs, -3).result() == 3
        (first,) = executor.pids
        with pytest.raises(BrokenExecutor, match="exit code -9"):
            executor.submit(cheap_tasks.dies, {}).result()
        assert executor.submit(abs, -4).result() == 4
        assert executor.pids != [first]
        with pytest.raises(TypeError, match="bad operand"):
            executor.submit(abs, "a").result()
        with pytest.raises(RuntimeError, match="pickle"):
            executor.submit(eval, "lambda: 0").result()
        assert executor.submit(abs, -5).result() == 5


def test_there_is_at_least_one_worker():
    with pytest.raises(InputError, match="workers: expected at least 1, got 0"):
        LocalProcesses(0)

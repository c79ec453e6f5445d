"""Runs that are disturbed end as those that are not."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cheap_tasks
import pytest

from torrey.experiments.executors import LocalProcesses
from torrey.experiments.run import Status, run_tasks
from torrey.experiments.status import describe
from torrey.experiments.store import RESULTS, TaskStore

RECIPE = {"title": "cheap"}


def specs_of(count, **more):
    return [{"index": index, **more} for index in range(count)]


def contents(folder, specs):
    """Return specs, values and the bytes of the arrays, in the order of `specs`, without times."""
    with TaskStore(folder, RECIPE) as store, ThreadPoolExecutor() as idle:
        records = run_tasks(cheap_tasks.odd_fails, specs, store, idle)  # nothing is missing
        walks = [store.arrays(record.key)["walk"].tobytes() for record in records]
    return [(record.spec, record.values, record.error) for record in records], walks


def undisturbed(folder, specs):
    """Compute in this process, without workers."""
    with TaskStore(folder, RECIPE) as store, ThreadPoolExecutor(1) as here:
        run_tasks(cheap_tasks.random_walk, [{**spec} for spec in specs], store, here)
    return contents(folder, specs)


def n_lines(folder):
    path = folder / RESULTS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_at(moments, folder, executor, killed):
    """Kill a worker at random each time the store has as many results as the next of `moments`."""
    chance = random.Random(1)
    for moment in moments:
        while n_lines(folder) < moment:
            time.sleep(0.001)
        while not (pids := executor.pids):
            time.sleep(0.001)
        pid = chance.choice(pids)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)


def test_ten_killed_workers_leave_the_same_results(tmp_path):
    specs = specs_of(500, sleep=0.002)
    killed = []
    moments = sorted(random.Random(0).sample(range(480), 10))
    with LocalProcesses(2) as executor, TaskStore(tmp_path / "killed", RECIPE) as store:
        args = (moments, tmp_path / "killed", executor, killed)
        killer = threading.Thread(target=kill_at, args=args)
        killer.start()
        records = run_tasks(cheap_tasks.random_walk, specs, store, executor)
        killer.join()
    assert len(killed) == 10
    assert [record.error for record in records] == [None] * 500
    assert n_lines(tmp_path / "killed") == 500
    assert contents(tmp_path / "killed", specs) == undisturbed(tmp_path / "whole", specs)


PARENT = """
def main():
    from pathlib import Path
    import cheap_tasks
    from torrey.experiments.executors import LocalProcesses
    from torrey.experiments.run import run_tasks
    from torrey.experiments.store import TaskStore
    with LocalProcesses(2) as executor, TaskStore(Path("killed"), {"title": "cheap"}) as store:
        def note(status):
            Path("pids").write_text(" ".join(map(str, executor.pids)))
        specs = [{"index": index, "sleep": 0.06} for index in range(60)]
        run_tasks(cheap_tasks.random_walk, specs, store, executor, progress=note)
if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_where_it_was(tmp_path, how):
    (tmp_path / "parent.py").write_text(PARENT)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, "parent.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while n_lines(tmp_path / "killed") < 20 or not (tmp_path / "pids").exists():
        assert parent.poll() is None
        time.sleep(0.002)
    if how == signal.SIGINT:
        os.killpg(parent.pid, how)  # as a terminal sends it
    else:
        parent.send_signal(how)
    parent.wait(timeout=10)
    done = n_lines(tmp_path / "killed")
    assert 20 <= done < 60
    for pid in (tmp_path / "pids").read_text().split():
        wait_for_end(int(pid))
    # a kill in the middle of a line
    with (tmp_path / "killed" / RESULTS).open("ab") as file:
        file.write(b'{"key": "0123')
    specs = specs_of(60, sleep=0.06)
    with LocalProcesses(2) as executor, TaskStore(tmp_path / "killed", RECIPE) as store:
        run_tasks(cheap_tasks.random_walk, specs, store, executor)
    assert n_lines(tmp_path / "killed") == 60  # none twice
    assert contents(tmp_path / "killed", specs) == undisturbed(tmp_path / "whole", specs)


def wait_for_end(pid, seconds=5.0):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise AssertionError(f"worker {pid} outlives its parent")


def test_an_interrupt_leaves_the_store_whole_and_ends_the_workers(tmp_path):
    def interrupt(status):
        raise KeyboardInterrupt

    executor = LocalProcesses(2)
    with TaskStore(tmp_path, RECIPE) as store:
        specs = specs_of(30, sleep=0.1)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run_tasks(cheap_tasks.random_walk, specs, store, executor, progress=interrupt)
        assert time.monotonic() - began < 2.5  # three seconds of work were submitted to two workers
    assert executor.pids == []
    with TaskStore(tmp_path, RECIPE) as store, ThreadPoolExecutor(8) as here:
        assert len(run_tasks(cheap_tasks.random_walk, specs, store, here)) == 30


def test_failures_are_kept_and_tried_again(tmp_path):
    specs = specs_of(6)
    with LocalProcesses(1) as executor, TaskStore(tmp_path, RECIPE) as store:
        seen = []
        records = run_tasks(cheap_tasks.odd_fails, specs, store, executor, progress=seen.append)
    assert [record.error for record in records] == [
        "ValueError: index 1 is odd"
        if spec["index"] == 1
        else None
        if spec["index"] % 2 == 0
        else record.error
        for spec, record in zip(specs, records, strict=True)
    ]
    assert "in odd_fails" in records[1].traceback
    assert [record.values for record in records[::2]] == [{"index": k} for k in (0, 2, 4)]
    assert (seen[-1].done, seen[-1].failed, seen[-1].total, seen[-1].before) == (3, 3, 6, 0)
    with TaskStore(tmp_path, RECIPE) as store, ThreadPoolExecutor(1) as here:
        again = run_tasks(cheap_tasks.random_walk, specs, store, here)
    assert [record.error for record in again] == [None] * 6
    assert again[0].values == {"index": 0}  # what succeeded is not done again
    assert set(again[1].values) == {"end"}


def test_a_task_that_kills_its_workers_fails_after_the_retries(tmp_path):
    with LocalProcesses(1) as executor, TaskStore(tmp_path, RECIPE) as store:
        (record,) = run_tasks(cheap_tasks.dies, specs_of(1), store, executor, retries=1)
    assert record.error == "a worker died with exit code -9, in the last of 2 tries"


def test_a_result_that_is_not_finite_is_a_failure(tmp_path):
    with TaskStore(tmp_path, RECIPE) as store, ThreadPoolExecutor(1) as here:
        (record,) = run_tasks(cheap_tasks.not_finite, specs_of(1), store, here)
    assert record.error == "ValueError: the task gave distance = nan, expected a finite number"


def test_workers_have_one_thread_and_this_process_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with LocalProcesses(1) as executor, TaskStore(tmp_path, RECIPE) as store:
        (record,) = run_tasks(cheap_tasks.threads, specs_of(1), store, executor)
    assert record.values == {"threads": 1.0}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_the_status_line():
    status = Status(total=60, before=10, done=9, failed=1, running=2, seconds=120.0)
    # ten in two minutes, forty are left
    assert describe(status) == "19 of 60 done, 2 running, 1 failed, 5.0 a minute, 8 min 0 s left"
    assert describe(Status(5, 0, 0, 0, 2, 0.0)) == "0 of 5 done, 2 running"

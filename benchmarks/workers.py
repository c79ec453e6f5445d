"""Throughput of one worker process and of two, on small fits of tubes.

    python benchmarks/workers.py [--tasks N]

Each task fits a bent tube to 72 signals. Two workers gain only where two cores are free: the load average
before each run is printed beside it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from common import Report

SPEC = {
    "family": "bend",
    "sample": None,
    "model": "tube",
    "optimiser": "lm",
    "trained_on": "family",
    "reference": "same",
    "pose": "known",
    "snr": None,
    "protocol": {
        "small_delta": 5.0,
        "big_delta": [10.0, 25.0],
        "bvals": [0.0, 1000.0, 3000.0],
        "directions": 12,
    },
    "diffusivity": 2.0,
    "layers": 20,
    "seed": 0,
    "repeat": 0,
    "curves": False,
    "starts": 1,
    "iterations": 5,
}


def main() -> None:
    from torrey.experiments.executors import LocalProcesses
    from torrey.experiments.run import run_tasks
    from torrey.experiments.store import TaskStore
    from torrey.experiments.tasks import fit_shape

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=12)
    count = parser.parse_args().tasks
    report = Report("workers")
    specs = [{**SPEC, "shape": {"bend": 0.1 * k / count, "twist": 0.0}} for k in range(count)]
    report(f"{count} fits of a bent tube, {os.cpu_count()} cores")
    seconds = {}
    for n_workers in (1, 2):
        load = os.getloadavg()[0]
        with (
            tempfile.TemporaryDirectory() as folder,
            LocalProcesses(n_workers) as executor,
            TaskStore(Path(folder), {}) as store,
        ):
            # each worker imports PyTorch once, which is no part of a fit
            first = [{**SPEC, "shape": {"bend": 0.1, "twist": 0.1 * k}} for k in range(1, n_workers + 1)]
            run_tasks(fit_shape, first, store, executor)
            began = time.perf_counter()
            records = run_tasks(fit_shape, specs, store, executor)
            seconds[n_workers] = time.perf_counter() - began
        failed = sum(record.error is not None for record in records)
        report(
            f"{n_workers} workers: {seconds[n_workers]:.1f} s, "
            f"{60 * count / seconds[n_workers]:.1f} fits a minute, "
            f"{failed} failed, load average {load:.1f} before"
        )
    report(f"two workers are {seconds[1] / seconds[2]:.2f} times as fast as one")
    report.write()


if __name__ == "__main__":
    main()

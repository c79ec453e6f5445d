"""Tasks that cost nothing, in a module that worker processes can import."""

import os
import signal
import time

import numpy as np

from torrey.experiments.task import Outcome, task_seed


def random_walk(spec):
    """Return numbers that depend on the spec through its seed only."""
    generator = np.random.default_rng(task_seed(spec))
    time.sleep(spec.get("sleep", 0.0))
    walk = generator.standard_normal(20).cumsum()
    return Outcome({"end": float(walk[-1])}, {"walk": walk})


def odd_fails(spec):
    if spec["index"] % 2:
        raise ValueError(f"index {spec['index']}\nis odd")
    return Outcome({"index": spec["index"]})


def dies(spec):
    os.kill(os.getpid(), signal.SIGKILL)


def threads(spec):
    return Outcome({"threads": float(os.environ["OMP_NUM_THREADS"])})


def not_finite(spec):
    return Outcome({"distance": float("nan")})


def measures(spec):
    """Return what a fit returns."""
    measured = {"d_prime": 0.5 + spec["repeat"] / 10, "d_prime_vertices": 1.0}
    return Outcome({**measured, "misfit": 0.01, "volume_error": 0.0})

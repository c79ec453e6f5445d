"""A task: a function of a plain description of what to compute, named by the hash of that description.

A worker imports this before the task itself, so it costs next to nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from traceback import format_exc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Spec = Mapping[str, Any]
"""Everything that a task depends on, JSON-serialisable and finite."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a task returns.

    Attributes
    ----------
    values : mapping of str to float
        Numbers for tables, finite.
    arrays : mapping of str to ndarray
        Curves, latents and vertices for figures.
    """

    values: Mapping[str, float]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if not math.isfinite(value):
                raise ValueError(f"the task gave {name} = {value}, expected a finite number")


TaskFunction = Callable[[Spec], Outcome]
"""A function at the top of a module, so that another process finds it by name."""


def task_key(spec: Spec) -> str:
    """Return the name of a task: 80 bits of the SHA-256 of its description, in hexadecimal."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def task_seed(spec: Spec) -> int:
    """Return the seed of a task, 60 bits of its name: the same whoever computes it, and when."""
    return int(task_key(spec)[:15], 16)


@dataclass(frozen=True, eq=False)
class Attempt:
    """What comes back from a worker: an outcome, or why there is none; any executor carries it alike."""

    outcome: Outcome | None
    seconds: float
    error: str = ""
    traceback: str | None = None


def attempt(function: TaskFunction, spec: Spec) -> Attempt:
    """Call `function` on `spec` in a worker."""
    began = time.perf_counter()
    try:
        outcome = function(spec)
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return Attempt(None, time.perf_counter() - began, message, format_exc())
    return Attempt(outcome, time.perf_counter() - began)

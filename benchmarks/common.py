"""What the benchmarks share: a report that is printed and written, clocks, and the reference cases."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import scipy
import torch

import torrey
from torrey.errors import AccuracyWarning

Result = TypeVar("Result")
RESULTS = Path(__file__).parent / "results"


class Report:
    """Lines that go to the terminal at once and to `results/<name>.txt` at the end."""

    def __init__(self, name: str) -> None:
        self._path = RESULTS / f"{name}.txt"
        self._lines: list[str] = []
        # where results are expected to be coarse the table says so
        warnings.simplefilter("ignore", AccuracyWarning)
        self(
            f"{name}, {datetime.date.today()}; {_processor()}, {os.cpu_count()} cores, "
            f"{torch.get_num_threads()} threads; Python {platform.python_version()}, "
            f"torch {torch.__version__}, numpy {np.__version__}, "
            f"scipy {scipy.__version__}, torrey {torrey.__version__}"
        )

    def __call__(self, line: str = "") -> None:
        """Add a line."""
        print(line, flush=True)
        self._lines.append(line.rstrip())

    def row(self, *cells: object, widths: tuple[int, ...]) -> None:
        """Add cells, the first flush left."""
        texts = [str(c) for c in cells]
        first = texts[0].ljust(widths[0])
        self(first + "".join(t.rjust(w) for t, w in zip(texts[1:], widths[1:], strict=True)))

    def write(self) -> None:
        """Write the file."""
        RESULTS.mkdir(exist_ok=True)
        self._path.write_text("\n".join(self._lines) + "\n", encoding="utf-8")


def timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of `function` and the seconds it took."""
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def best_of(repeats: int, function: Callable[[], Result]) -> tuple[Result, float]:
    """Return a result of `function` and the shortest of `repeats` times."""
    runs = [timed(function) for _ in range(repeats)]
    return runs[0][0], min(seconds for _, seconds in runs)


def peak_memory() -> float:
    """Return the largest resident size of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        return names[0] if names else platform.processor()
    return platform.processor()


class SpinDoctorCase(NamedTuple):
    """One PGSE case of the SpinDoctor reference in Torrey's units; arrays (Δ, b, direction)."""

    data: dict[str, np.ndarray]
    mesh: torrey.TetMesh
    tissue: torrey.Tissue
    acquisition: torrey.Acquisition
    shape: tuple[int, int, int]
    volume: float


def spindoctor_case(folder: Path, name: str) -> SpinDoctorCase:
    """Read a case; times there are µs, diffusivities µm²/µs."""
    with np.load(folder / f"{name}.npz") as archive:
        data = dict(archive)
    bvals, directions = data["bvalues"], data["directions"]
    shape = (*bvals.shape, len(directions))
    acquisition = torrey.Acquisition.pgse(
        np.broadcast_to(bvals[:, :, None], shape).ravel().copy(),
        np.broadcast_to(directions, (*shape, 3)).reshape(-1, 3).copy(),
        small_delta=np.broadcast_to(data["delta"][:, None, None] / 1e3, shape).ravel().copy(),
        big_delta=np.broadcast_to(data["Delta"][:, None, None] / 1e3, shape).ravel().copy(),
    )
    tissue = torrey.Tissue(diffusivity=data["diffusivity"][0] * 1e3, T2=data["T2"][0] / 1e3)
    mesh = torrey.TetMesh(data["vertices"], data["elements"])
    return SpinDoctorCase(data, mesh, tissue, acquisition, shape, float(data["S0"]))

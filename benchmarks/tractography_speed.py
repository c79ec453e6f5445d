"""Streamlines a second beside `tckgen`, what their gradient costs, and in how much memory.

    python benchmarks/tractography_speed.py FOLDER [--fod FILE] [--voxels 1800] [--many 100000]

A human image of 76 × 100 × 60 voxels (Bangalore, third-party data, which is not in the repository), MRtrix's
response and FODs of degree 8 or those given, SD_STREAM with MRtrix's defaults from the same 8 seeds in each
of so many voxels of the brain, the same direction at all seeds. Both programs have two threads and take
turns; best of three.

What each time holds: `tckgen` is its whole run less that of a run with one seed (start, reading of the FODs),
so it tracks and writes its file; `propagate` begins with the image in memory and ends with the streamlines
there; it converts the harmonics to polynomials each time. Times with gradient are forward and backward of a
sum over all points, to the coefficients of the image. Compilation is apart: Numba keeps its results on disk,
and the first call on a machine makes them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import torch

from common import Report
from mrtrix import command, human, make_fod, write_mask
from torrey.tractography import Euler, RungeKutta, SHField, Streamlines, grid_seeds, propagate
from torrey.tractography.orientation import read_harmonics, read_image

THREADS = 2
REPEATS = 3
TOWARDS = (0.8, 0.5, 0.3)
WIDTHS = (24, 13, 10, 10, 16, 16, 14)
FIRST_CALL = """
import time, torch
from torrey.tractography import SHField, propagate
field = SHField(torch.ones(3, 3, 3, 45, dtype=torch.float64).requires_grad_(), torch.eye(4))
begin = time.perf_counter()
tracks = propagate(field, torch.ones(1, 3, dtype=torch.float64), min_length=0.0)
tracks.points.sum().backward()
print(time.perf_counter() - begin)
"""


class Seconds(NamedTuple):
    """Wall and CPU seconds, the latter of children, too."""

    wall: float
    cpu: float

    @classmethod
    def of(cls, function: Callable[[], object]) -> Seconds:
        """Time a call."""
        begin = cls._now()
        function()
        end = cls._now()
        return cls(end.wall - begin.wall, end.cpu - begin.cpu)

    @classmethod
    def _now(cls) -> Seconds:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime)


def best(runs: list[Seconds]) -> Seconds:
    """Return the least wall and the least CPU seconds."""
    return Seconds(min(run.wall for run in runs), min(run.cpu for run in runs))


def resident(name: str) -> float:
    """Return bytes of memory now (`VmRSS`) or at most since `forget_peak` (`VmHWM`). Linux."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(float(line.split()[1]) for line in status if line.startswith(name))


def forget_peak() -> None:
    """Let `VmHWM` count from now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def with_gradient(field: SHField, seeds: torch.Tensor, method: Euler | RungeKutta) -> None:
    """Grow streamlines and pull a sum of their points back to the image."""
    wanting = SHField(field.coefficients.detach().requires_grad_(), field.affine)
    towards = torch.tensor(TOWARDS, dtype=torch.float64)
    propagate(wanting, seeds, method=method, directions=towards).points.sum().backward()


def compare(
    report: Report, name: str, field: SHField, seeds: torch.Tensor, *, fod: Path, masks: tuple[Path, Path]
) -> None:
    """Let both take turns and add rows; `masks` have all seeds, and one voxel."""
    method = Euler() if name == "Euler" else RungeKutta()
    single = SHField(field.coefficients.float(), field.affine)
    kept: dict[str, Streamlines] = {}

    def theirs(mask: Path, n: int) -> None:
        words = ("-rk4",) if name == "RK4" else ()
        command(
            *("tckgen", "-quiet", "-force", "-algorithm", "SD_STREAM", "-nthreads", THREADS, *words),
            *("-seed_grid_per_voxel", mask, n, "-seed_direction", ",".join(map(str, TOWARDS))),
            *("-select", 0, fod, mask.with_suffix(".tck")),
        )

    def ours(image: SHField, row: str) -> None:
        towards = torch.tensor(TOWARDS, dtype=torch.float64)
        kept[row] = propagate(image, seeds, method=method, directions=towards)

    rows: dict[str, Callable[[], None]] = {
        "one seed": lambda: theirs(masks[1], 1),
        "tckgen": lambda: theirs(masks[0], 2),
        "propagate": lambda: ours(field, "propagate"),
        "propagate, float32": lambda: ours(single, "propagate, float32"),
        "  with gradient": lambda: with_gradient(field, seeds, method),
    }
    taken: dict[str, list[Seconds]] = {row: [] for row in rows}
    for _ in range(REPEATS):
        for row, function in rows.items():
            taken[row].append(Seconds.of(function))
    least = {row: best(runs) for row, runs in taken.items()}
    one = least.pop("one seed")
    tck = nibabel.streamlines.load(masks[0].with_suffix(".tck"), lazy_load=True)
    n_theirs = int(tck.header["count"])
    net = Seconds(*(a - b for a, b in zip(least["tckgen"], one, strict=True)))
    n_points = len(kept["propagate"].points)
    report(f"{name}: {n_points} points; start of tckgen {one.wall:.2f} s wall, {one.cpu:.2f} s CPU")
    for row, seconds in least.items():
        n = n_theirs if row == "tckgen" else len(kept["propagate" if row.startswith(" ") else row])
        used = net if row == "tckgen" else seconds
        report.row(
            row,
            n,
            f"{used.wall:.2f}",
            f"{used.cpu:.2f}",
            f"{n / used.wall:.0f}",
            f"{n / used.wall / (n_theirs / net.wall):.2f}",
            f"{n / used.cpu / (n_theirs / net.cpu):.2f}",
            widths=WIDTHS,
        )
    forward, both = least["propagate"], least["  with gradient"]
    report(
        f"  with gradient over without: {both.wall / forward.wall:.2f} wall, {both.cpu / forward.cpu:.2f} CPU"
    )


def memory(report: Report, field: SHField, brain: torch.Tensor, n: int) -> None:
    """Grow `n` streamlines in one call, and pull back."""
    generator = torch.Generator().manual_seed(0)
    voxels = brain.nonzero()
    chosen = voxels[torch.randint(len(voxels), (int(1.5 * n),), generator=generator)]
    within = torch.rand(chosen.shape, generator=generator, dtype=torch.float64) - 0.5
    seeds = field.grid.to_world(chosen + within)
    wanting = SHField(field.coefficients.detach().requires_grad_(), field.affine)
    forget_peak()
    before = resident("VmRSS")
    begin = time.perf_counter()
    tracks = propagate(wanting, seeds, directions=torch.tensor(TOWARDS, dtype=torch.float64))
    seconds = time.perf_counter() - begin
    n_points = len(tracks.points)
    report(
        f"One call, {len(tracks)} streamlines of {n_points} points: {seconds:.1f} s; at most "
        f"{resident('VmHWM') / 2**30:.2f} GiB in the process, of which {before / 2**30:.2f} were there before"
    )
    loss = tracks.points.sum()
    forget_peak()
    before = resident("VmRSS")
    begin = time.perf_counter()
    loss.backward()
    seconds = time.perf_counter() - begin
    extra = resident("VmHWM") - before
    image = field.coefficients.numel() * field.coefficients.element_size()
    report(
        f"Backward of it: {seconds:.1f} s; at most {resident('VmHWM') / 2**30:.2f} GiB, "
        f"{extra / 2**30:.2f} more than before: {extra / n_points:.0f} bytes a point, "
        f"{(extra - image) / n_points:.0f} without the gradient of the image ({image / 2**30:.2f} GiB)"
    )


def first_call(report: Report, cache: Path) -> None:
    """Report what compilation takes, forward and backward, and what a process takes that finds it done."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    seconds = [
        subprocess.run(
            [sys.executable, "-c", FIRST_CALL], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()
        for _ in range(2)
    ]
    report(
        f"First call of all, forward and backward, one seed: {float(seconds[0]):.1f} s; "
        f"in a process after that {float(seconds[1]):.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fod", type=Path)
    parser.add_argument("--voxels", type=int, default=1800)
    parser.add_argument("--many", type=int, default=100_000)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    report = Report("tractography_speed")
    report(__doc__ or "")
    files = human(arguments.folder)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        fod = arguments.fod or make_fod(files, out)
        harmonics, grid = read_harmonics(fod)
        field = SHField(harmonics, grid.affine)
        brain, _ = read_image(files.mask, n_dimensions=3)
        voxels = brain.nonzero().numpy()
        chosen = np.random.default_rng(0).choice(len(voxels), arguments.voxels, replace=False)
        masks = (
            write_mask(voxels[chosen], files.mask, out / "seeds.nii"),
            write_mask(voxels[chosen[:1]], files.mask, out / "seed.nii"),
        )
        seeds = grid_seeds(read_image(masks[0], n_dimensions=3)[0], grid, 2)
        with_gradient(field, seeds[:8], Euler())
        report.row("", "streamlines", "wall, s", "CPU, s", "1/s wall", "× tckgen, wall", "CPU", widths=WIDTHS)
        for method in ("Euler", "RK4"):
            compare(report, method, field, seeds, fod=fod, masks=masks)
        memory(report, field, brain, arguments.many)
        first_call(report, out / "numba")
    report.write()


if __name__ == "__main__":
    main()

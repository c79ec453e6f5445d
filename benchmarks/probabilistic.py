"""Drawn streamlines beside `tckgen -algorithm iFOD1`: how fast, and whether they are distributed alike.

    python benchmarks/probabilistic.py FOLDER [--fod FILE] [--seeds N]

A human image of 76 × 100 × 60 voxels (third-party data, which is not in the repository) with MRtrix's FODs,
random seeds in the brain mask, iFOD1 with MRtrix's defaults, one thread each, in turns. Seconds are of CPU,
the best of three; MRtrix's include reading the image, ours neither that nor compilation.

Distributions: share of seeds kept; Kolmogorov–Smirnov test of the lengths; z of the share of streamlines that
visit a cube of 4 × 4 × 4 voxels, for all cubes with 40 visits or more. Samples of one law give z of mean
square 1.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from scipy import stats

from common import Report
from mrtrix import command, human, make_fod
from torrey.tractography import (
    Region,
    SHField,
    Streamlines,
    random_seeds,
    read_tractogram,
    sample_streamlines,
)

REPEATS = 3
FEWEST_VISITS = 40
CUBE = 4  # voxels


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call and of the programs it runs."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    begin = now()
    function()
    return now() - begin


def visits(field: SHField, streamlines: Streamlines) -> torch.Tensor:
    """Return how many streamlines visit each cube."""
    cubes = (field.grid.to_voxels(streamlines.points.double()).round().clamp_min(0) / CUBE).long()
    sizes = torch.tensor(field.grid.shape) // CUBE + 1
    flat = (cubes[:, 0] * sizes[1] + cubes[:, 1]) * sizes[2] + cubes[:, 2]
    owners = torch.arange(len(streamlines)).repeat_interleave(streamlines.n_points)
    n_cubes = int(sizes.prod())
    pairs = (owners * n_cubes + flat).unique()
    return torch.bincount(pairs % n_cubes, minlength=n_cubes).double()


def z_scores(first: torch.Tensor, second: torch.Tensor, n_first: int, n_second: int) -> torch.Tensor:
    """Return the differences of two shares in units of their standard deviation."""
    pooled = (first + second) / (n_first + n_second)
    spread = (pooled * (1 - pooled) * (1 / n_first + 1 / n_second)).sqrt()
    return (first / n_first - second / n_second) / spread


def compare(report: Report, field: SHField, ours: Streamlines, theirs: Streamlines, n_seeds: int) -> None:
    """Report how alike two samples are."""
    kept = z_scores(torch.tensor(float(len(ours))), torch.tensor(float(len(theirs))), n_seeds, n_seeds)
    report(f"  kept            {len(ours)} and {len(theirs)} of {n_seeds}, z = {float(kept):.1f}")
    lengths = stats.ks_2samp(ours.n_points, theirs.n_points)
    means = [float(sample.n_points.double().mean()) for sample in (ours, theirs)]
    report(f"  points          {means[0]:.1f} and {means[1]:.1f} in the mean, p = {lengths.pvalue:.2f}")
    counts = [visits(field, sample) for sample in (ours, theirs)]
    enough = counts[0] + counts[1] >= FEWEST_VISITS
    z = z_scores(*counts, len(ours), len(theirs))[enough]
    report(
        f"  visits          {len(z)} cubes, mean square of z {float((z**2).mean()):.2f}, "
        f"largest |z| {float(z.abs().max()):.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fod", type=Path)
    parser.add_argument("--seeds", type=int, default=10_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("probabilistic")
    report(__doc__ or "")
    mask_path = arguments.folder / "data" / "human" / "bangalore_dti32_b1000_mask.nii.gz"
    with tempfile.TemporaryDirectory() as name:
        fod, tracks = (
            arguments.fod or make_fod(human(arguments.folder), Path(name)),
            Path(name) / "tracks.tck",
        )
        image, mask = nibabel.load(fod), nibabel.load(mask_path)
        field = SHField(torch.tensor(image.get_fdata(dtype=np.float32)), torch.tensor(image.affine))
        brain = Region(torch.tensor(mask.get_fdata()), torch.tensor(mask.affine))
        generator = torch.Generator().manual_seed(0)
        seeds = random_seeds(brain.image, brain.grid, arguments.seeds, generator=generator)
        theirs: list[object] = ["tckgen", "-quiet", "-force", "-algorithm", "iFOD1", "-nthreads", 0]
        theirs += ["-seed_image", mask_path, "-seeds", arguments.seeds, "-select", 0, fod, tracks]
        ours = sample_streamlines(field, seeds)
        seconds: dict[str, list[float]] = {"tckgen": [], "torrey": []}
        for _ in range(REPEATS):
            seconds["tckgen"].append(cpu_seconds(lambda: command(*theirs)))
            seconds["torrey"].append(cpu_seconds(lambda: sample_streamlines(field, seeds)))
        drawn = read_tractogram(tracks)
        for program, streamlines in (("tckgen", drawn), ("torrey", ours)):
            best = min(seconds[program])
            report(
                f"  {program:15s} {best:6.2f} s, {len(streamlines) / best:6.0f} streamlines/s, "
                f"{len(streamlines.points) / best / 1e6:.2f} million points/s"
            )
        compare(report, field, ours, drawn, arguments.seeds)
    report.write()


if __name__ == "__main__":
    main()

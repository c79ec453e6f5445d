"""Streamlines a second beside `tckgen`, and what their derivative costs.

    python benchmarks/tractography_speed.py FOLDER [--fod FILE]

A human image of 76 × 100 × 60 voxels (third-party data, which is not in the repository), MRtrix's response
and FODs or those given, 24 000 random seeds in the brain mask, SD_STREAM with MRtrix's defaults. Both run on
two threads and take turns; seconds are of CPU, which other work on the machine disturbs less, the best of
three. MRtrix's include reading the image, ours neither that nor compilation.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch

from common import Report, peak_memory
from torrey.tractography.propagation.compiled import PolynomialImage, Settings, grow, pull_back
from tractography_parity import polynomial_image

N_SEEDS = 24_000
THREADS = 2
REPEATS = 3


def command(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def make_fod(folder: Path, out: Path) -> Path:
    """Make the FOD with MRtrix."""
    name = folder / "data" / "human" / "bangalore_dti32_b1000"
    gradients = ("-fslgrad", f"{name}.bvec", f"{name}.bval")
    mask = ("-mask", f"{name}_mask.nii.gz")
    command("dwi2response", "fa", f"{name}.nii.gz", out / "response.txt", *gradients, *mask)
    command("dwi2fod", "csd", f"{name}.nii.gz", out / "response.txt", out / "fod.nii.gz", *gradients, *mask)
    return out / "fod.nii.gz"


def cpu_seconds(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call and of the programs it runs."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    begin = now()
    function()
    return now() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fod", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    report = Report("tractography_speed")
    report(__doc__ or "")
    mask_path = arguments.folder / "data" / "human" / "bangalore_dti32_b1000_mask.nii.gz"
    mask = nibabel.load(mask_path)
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        fod = arguments.fod or make_fod(arguments.folder, temporary)
        image = polynomial_image(fod)
        rng = np.random.default_rng(0)
        voxels = np.argwhere(mask.get_fdata() > 0)
        chosen = voxels[rng.integers(len(voxels), size=N_SEEDS)] + rng.uniform(-0.5, 0.5, (N_SEEDS, 3))
        seeds = chosen @ mask.affine[:3, :3].T + mask.affine[:3, 3]
        directions = rng.standard_normal(seeds.shape)
        voxel = abs(np.linalg.det(mask.affine[:3, :3])) ** (1 / 3)
        for rk4, step in ((False, 0.1 * voxel), (True, 0.25 * voxel)):
            settings = Settings(
                step=step,
                cosine=0.5,
                cutoff=0.1,
                most_points=3 + math.ceil(100 * voxel / step - 1e-4),
                least_points=1 + math.ceil(5 * voxel / step - 1e-4),
                unidirectional=False,
                rk4=rk4,
                sharpen=False,
            )
            files = {"fod": fod, "mask_path": mask_path, "tracks": temporary / "tracks.tck"}
            compare(report, image, seeds, directions, settings, **files)
    report(f"largest memory of the process {peak_memory():.2f} GiB")
    report.write()


def compare(
    report: Report,
    image: PolynomialImage,
    seeds: np.ndarray,
    directions: np.ndarray,
    settings: Settings,
    *,
    fod: Path,
    mask_path: Path,
    tracks: Path,
) -> None:
    """Let both take turns and report."""
    theirs: list[object] = ["tckgen", "-quiet", "-force", "-algorithm", "SD_STREAM", "-nthreads", THREADS]
    theirs += ["-seed_image", mask_path, "-seeds", N_SEEDS, "-select", 0, fod, tracks]
    theirs += ["-rk4"] if settings.rk4 else []
    polished = settings._replace(sharpen=True)
    grown = grow(image, seeds, directions, settings)
    cotangents = np.ones_like(grown.points)

    def back() -> object:
        return pull_back(image, grown, cotangents, step=settings.step, rk4=settings.rk4)

    back()
    rows: dict[str, list[float]] = {"tckgen": [], "forward": [], "forward, peaks": [], "backward": []}
    for _ in range(REPEATS):
        rows["tckgen"].append(cpu_seconds(lambda: command(*theirs)))
        rows["forward"].append(cpu_seconds(lambda: grow(image, seeds, directions, settings)))
        rows["forward, peaks"].append(cpu_seconds(lambda: grow(image, seeds, directions, polished)))
        rows["backward"].append(cpu_seconds(back))
    n_theirs = int(nibabel.streamlines.load(tracks, lazy_load=True).header["count"])
    best = {name: min(seconds) for name, seconds in rows.items()}
    method = "RK4" if settings.rk4 else "Euler"
    report(f"{method}: {len(grown.points)} points of {len(grown.offsets) - 1} streamlines")
    report(f"  tckgen          {best['tckgen']:6.2f} s, {n_theirs / best['tckgen']:8.0f} streamlines/s")
    for name in ("forward", "forward, peaks"):
        rate = (len(grown.offsets) - 1) / best[name]
        ratio = rate / (n_theirs / best["tckgen"])
        report(f"  {name:15s} {best[name]:6.2f} s, {rate:8.0f} streamlines/s, {ratio:.1f} times tckgen's")
    report(
        f"  backward        {best['backward']:6.2f} s, {best['backward'] / best['forward']:.1f} times forward"
    )


if __name__ == "__main__":
    main()

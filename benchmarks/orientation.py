"""Responses, FODs and tensors against MRtrix's programs, from the same signals: how far apart, and how long.

    python benchmarks/orientation.py REFERENCE

REFERENCE holds data/fibercup and data/human, images with gradients and masks. MRtrix must be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torrey.tractography.orientation import (
    HighestAnisotropy,
    SinglePeak,
    deconvolve,
    estimate_response,
    fit_tensor,
    read_fsl_gradients,
    read_harmonics,
    read_image,
    read_mask,
    read_mrtrix_gradients,
    read_response,
)


class Case(NamedTuple):
    """One image, and how its response is estimated."""

    name: str
    image: str
    mask: str
    reference: str | None  # FODs that MRtrix left, made by the response below
    algorithm: HighestAnisotropy | SinglePeak
    words: tuple[str, ...]  # the same for dwi2response
    degree: int


CASES = (
    Case(
        "FiberCup b = 1500",
        "fibercup/acq-averaged_b-1500",
        "fibercup/wm.nii.gz",
        "mrtrix/fod_lmax8.nii.gz",
        HighestAnisotropy(60),
        ("fa", "-number", "60"),
        8,
    ),
    Case(
        "Vanderbilt b = 2000",
        "human/vanderbilt_dti15_b2000",
        "human/vanderbilt_dti15_b2000_mask.nii.gz",
        "mrtrix_human/fod_lmax4.nii.gz",
        SinglePeak(300),
        ("tournier",),
        4,
    ),
    Case(
        "Bangalore b = 1000",
        "human/bangalore_dti32_b1000",
        "human/bangalore_dti32_b1000_mask.nii.gz",
        None,
        HighestAnisotropy(300),
        ("fa",),
        6,
    ),
)


def main(reference: Path) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            compare(case, reference, Path(folder))


def compare(case: Case, reference: Path, folder: Path) -> None:
    image, mask_path = reference / "data" / f"{case.image}.nii.gz", reference / "data" / case.mask
    signals, grid = read_image(image, n_dimensions=4)
    bval = image.name.removesuffix(".nii.gz") + ".bval"
    if (image.parent / bval).exists():
        bvals, bvecs = image.parent / bval, image.parent / bval.replace("bval", "bvec")
        table, gradients = read_fsl_gradients(bvals, bvecs, grid=grid), ["-fslgrad", str(bvecs), str(bvals)]
    else:
        rows = image.parent / "grad_b1500.b"
        table, gradients = read_mrtrix_gradients(rows), ["-grad", str(rows)]
    mask = read_mask(mask_path, grid) & (signals.amax(-1) > 0)
    common = [*gradients, "-mask", str(mask_path), "-quiet", "-force", "-nthreads", "0"]
    degree = ["-lmax", str(case.degree)]
    response, fod, tensor = (folder / part for part in ("r.txt", "fod.nii", "dt.nii"))
    print(
        f"{case.name}: {int(mask.sum())} voxels, {table.n_volumes} volumes, degree {case.degree}", flush=True
    )

    (mine, _), seconds = timed(
        lambda: estimate_response(signals, table, mask=mask, algorithm=case.algorithm, degree=case.degree)
    )
    words = ["dwi2response", *case.words, image, response, *degree, "-scratch", folder, *common]
    _, theirs = timed(lambda: call(*words))
    kernel = read_response(response)
    apart = float((mine - kernel).norm() / kernel.norm())
    print(
        f"  response ({' '.join(case.words)}): {apart:.1e}; {seconds:.1f} s against {theirs:.1f} s",
        flush=True,
    )

    ours, seconds = timed(lambda: deconvolve(signals, table, kernel, mask=mask)[mask])
    _, theirs = timed(lambda: call("dwi2fod", "csd", image, response, fod, *degree, *common))
    apart = relative(ours, read_harmonics(fod)[0][mask])
    print(f"  FOD, same response: {apart}; {seconds:.1f} s against {theirs:.1f} s", flush=True)
    stored = read_harmonics(reference / case.reference if case.reference else fod)[0][mask]
    alone = relative(deconvolve(signals, table, mine, mask=mask)[mask], stored)
    print(
        f"  FOD, own response, against the {'reference' if case.reference else 'same'}: {alone}", flush=True
    )

    fitted, seconds = timed(lambda: fit_tensor(signals[mask], table).diffusivity)
    _, theirs = timed(lambda: call("dwi2tensor", image, tensor, *common))
    six = fitted[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    apart = relative(six, 1000 * read_image(tensor, n_dimensions=4)[0][mask])
    print(f"  tensor: {apart}; {seconds:.1f} s against {theirs:.1f} s", flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what `work` gives and its CPU seconds, with those of programs it ran."""
    before = cpu_seconds()
    return work(), cpu_seconds() - before


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    error = (ours - theirs).norm(dim=1) / theirs.norm(dim=1)
    above = int((error > 1e-3).sum())
    return f"median {error.median():.1e}, largest {error.max():.1e}, {above} voxels above 1e-3"


def call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

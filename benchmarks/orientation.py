"""FODs and tensors against MRtrix's programs, from the same signals: how far apart, and how long.

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
from typing import Any

import torch

from torrey.tractography.orientation import (
    deconvolve,
    fit_tensor,
    read_fsl_gradients,
    read_harmonics,
    read_image,
    read_mask,
    read_mrtrix_gradients,
    read_response,
    spiral_directions,
    write_directions,
)

CASES = (
    ("FiberCup b = 1500", "fibercup/acq-averaged_b-1500", "fibercup/wm.nii.gz"),
    ("Vanderbilt b = 2000", "human/vanderbilt_dti15_b2000", "human/vanderbilt_dti15_b2000_mask.nii.gz"),
)


def main(reference: Path) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, stem, mask in CASES:
            compare(name, reference / "data" / f"{stem}.nii.gz", reference / "data" / mask, Path(folder))


def compare(name: str, image: Path, mask_path: Path, folder: Path) -> None:
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
    response, fod, tensor, rows_path = (folder / part for part in ("r.txt", "fod.nii", "dt.nii", "d.txt"))
    # the 60 voxels of highest FA: how the FODs of the reference were made
    call("dwi2response", "fa", image, response, "-number", "60", "-lmax", "8", "-scratch", folder, *common)
    write_directions(rows_path, spiral_directions(300))
    kernel = read_response(response)
    n_voxels = int(mask.sum())
    print(f"{name}: {n_voxels} voxels, {table.n_volumes} volumes, {response_text(kernel)}")
    ours, seconds = timed(lambda: deconvolve(signals, table, kernel, mask=mask)[mask])
    for what, more in (("same directions", ["-directions", rows_path]), ("MRtrix's own directions", [])):
        theirs = timed(lambda more=more: call("dwi2fod", "csd", image, response, fod, *more, *common))[1]
        apart = relative(ours, read_harmonics(fod)[0][mask])
        print(f"  FOD, {what}: {apart}; {seconds:.1f} s against {theirs:.1f} s")
    fitted, seconds = timed(lambda: fit_tensor(signals[mask], table).diffusivity)
    theirs = timed(lambda: call("dwi2tensor", image, tensor, *common))[1]
    six = fitted[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    apart = relative(six, 1000 * read_image(tensor, n_dimensions=4)[0][mask])
    print(f"  tensor: {apart}; {seconds:.1f} s against {theirs:.1f} s")


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


def response_text(response: torch.Tensor) -> str:
    return "response " + " ".join(f"{value:.4g}" for value in response.tolist())


def call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

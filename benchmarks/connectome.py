"""Connectomes against MRtrix's `tck2connectome` (which must be installed) and DIPY's stored matrix.

    python benchmarks/connectome.py FOLDER

FOLDER holds data/, and connectome/ with streamlines of the FiberCup phantom, their matrices and assignments.

1. FiberCup, 12 nodes drawn by hand: ends with another node, and edges with another number.
2. 100 000 streamlines of 60 points through the human image of 1.75×1.75×2.5 mm in data/human and 85 nodes in
   the outer part of its brain mask: the same against a fresh run, and CPU seconds of one thread. Those of
   `tck2connectome` include reading the file. `soft` is forward and backward, width in mm.
"""

from __future__ import annotations

import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
import torch
from nibabel.streamlines import TckFile, Tractogram
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from common import Report, peak_memory
from torrey.tractography import Streamlines
from torrey.tractography.connectomics import (
    EndVoxels,
    ForwardSearch,
    RadialSearch,
    ReverseSearch,
    assign_nodes,
    connectome,
    inverse_lengths,
    soft_connectome,
)

Result = TypeVar("Result")

FIBERCUP = {
    "radial2": RadialSearch(2.0),
    "radial4": RadialSearch(4.0),
    "end": EndVoxels(),
    "rev": ReverseSearch(20.0),
    "fwd": ForwardSearch(6.0),
}
HUMAN = {
    "-assignment_radial_search 4": RadialSearch(4.0),
    "-assignment_end_voxels": EndVoxels(),
    "-assignment_reverse_search 0": ReverseSearch(),
    "-assignment_forward_search 10": ForwardSearch(10.0),
}
N_STREAMLINES, N_POINTS, N_NODES = 100_000, 60, 85


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    report = Report("connectome")
    report(__doc__ or "")
    fibercup(folder, report)
    human(folder, report)
    report.write()


def fibercup(folder: Path, report: Report) -> None:
    stored = folder / "connectome"
    curves = nibabel.streamlines.load(stored / "fibercup_sdstream_allwm.tck").streamlines
    tracks = Streamlines.from_list([torch.tensor(curve) for curve in curves])
    labels, affine = read_labels(folder / "data" / "fibercup" / "endpoint_rois_handmade.nii.gz")
    widths = (16, 10, 10)
    report.row(f"{len(tracks)} tracks", "ends", "edges", widths=widths)
    for name, rule in FIBERCUP.items():
        nodes = assign_nodes(tracks, labels, affine, assignment=rule).numpy()
        theirs = np.loadtxt(stored / f"fibercup_sdstream_{name}.assign.csv", dtype=int)
        matrix = connectome(tracks, labels, affine, assignment=rule).numpy()
        edges = np.loadtxt(stored / f"fibercup_sdstream_{name}.csv", delimiter=",")
        report.row(name, (nodes != theirs).sum(), (matrix != edges).sum(), widths=widths)
    matrix = connectome(tracks, labels, affine, assignment=EndVoxels(), keep_unassigned=True).numpy()
    edges = np.loadtxt(stored / "fibercup_dipy_connectivity_matrix.csv", delimiter=",")
    report.row("DIPY", "", (matrix[-len(edges) :, -len(edges) :] != edges).sum(), widths=widths)
    values = inverse_lengths(tracks)
    matrix = connectome(tracks, labels, affine, values=values, per_node_volume=True).numpy()
    edges = np.loadtxt(stored / "fibercup_sdstream_radial4_invlen_invvol.csv", delimiter=",")
    apart = np.abs(matrix - edges).max() / edges.max()
    report(f"inverse lengths and node volumes: within {apart:.0e} of the largest edge\n")


def human(folder: Path, report: Report) -> None:
    mask, affine = read_labels(folder / "data" / "human" / "bangalore_dti32_b1000_mask.nii.gz")
    labels, tracks = nodes_and_tracks(mask.numpy() > 0, affine)
    widths = (32, 8, 8, 12, 10)
    report.row("", "ends", "edges", "tck2conn. s", "torrey s", widths=widths)
    with tempfile.TemporaryDirectory() as place:
        curves = [curve.numpy() for curve in tracks]
        TckFile(Tractogram(curves, affine_to_rasmm=np.eye(4))).save(f"{place}/tracks.tck")
        nibabel.save(
            nibabel.Nifti1Image(labels.numpy().astype(np.int16), affine.numpy()), f"{place}/labels.nii"
        )
        for options, rule in HUMAN.items():
            call = "tck2connectome -quiet -force -nthreads 0 -symmetric tracks.tck labels.nii c.csv"
            command = [*call.split(), "-out_assignments", "nodes.txt", *options.split()]
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run(command, cwd=place, check=True, stderr=subprocess.DEVNULL)
            theirs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
            connectome(tracks.select(torch.arange(10)), labels, affine, assignment=rule)  # compiles
            matrix, ours = cpu_timed(lambda rule=rule: connectome(tracks, labels, affine, assignment=rule))
            nodes = assign_nodes(tracks, labels, affine, assignment=rule).numpy()
            other_ends = (nodes != np.loadtxt(f"{place}/nodes.txt", dtype=int)).sum()
            other_edges = (matrix.numpy() != np.loadtxt(f"{place}/c.csv", delimiter=",")).sum()
            report.row(options, other_ends, other_edges, f"{theirs:.2f}", f"{ours:.2f}", widths=widths)
    base = peak_memory()
    for width in (0.5, 1.0, 2.0):
        points = tracks.points.clone().requires_grad_()
        moved = Streamlines(points, tracks.offsets)
        _, ours = cpu_timed(
            lambda m=moved, w=width: soft_connectome(m, labels, affine, width=w).sum().backward()
        )
        report.row(f"soft, {width}", "", "", "", f"{ours:.2f}", widths=widths)
    report(f"largest memory: {base:.2f} GiB before soft, {peak_memory():.2f} GiB after")


def nodes_and_tracks(mask: np.ndarray, affine: torch.Tensor) -> tuple[torch.Tensor, Streamlines]:
    """Return cells around 85 random voxels, without the inner part of the brain, and straight lines."""
    rng = np.random.default_rng(0)
    voxels = np.argwhere(mask)
    labels = np.zeros(mask.shape, int)
    centres = voxels[rng.choice(len(voxels), N_NODES, replace=False)]
    labels[tuple(voxels.T)] = cKDTree(centres).query(voxels)[1] + 1
    labels[binary_erosion(mask, iterations=4)] = 0
    starts = voxels[rng.integers(len(voxels), size=N_STREAMLINES)] + rng.uniform(
        -0.5, 0.5, (N_STREAMLINES, 3)
    )
    steps = rng.normal(size=(N_STREAMLINES, 1, 3)) / math.sqrt(12)
    places = torch.from_numpy(starts[:, None] + np.arange(N_POINTS)[:, None] * steps)
    points = (places @ affine[:3, :3].T + affine[:3, 3]).reshape(-1, 3).float()
    return torch.from_numpy(labels), Streamlines(points, torch.arange(N_STREAMLINES + 1) * N_POINTS)


def read_labels(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    image = nibabel.load(path)
    return torch.from_numpy(np.asarray(image.dataobj).astype(int)), torch.from_numpy(image.affine)


def cpu_timed(function: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()

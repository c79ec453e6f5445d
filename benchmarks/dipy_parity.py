"""Streamlines of DIPY's rules against DIPY's own, on the same images, and the time of both in the same run.

    python benchmarks/dipy_parity.py REFERENCE

REFERENCE is a folder with FiberCup, streamlines of DIPY 1.12.1 on it, and human images with FODs of MRtrix.
Needs DIPY. Both programs use the same number of threads; times are of the second run, after compilation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import torch
from dipy.reconst.shm import real_sh_tournier_from_index, sph_harm_ind_list
from dipy.tracking.stopping_criterion import BinaryStoppingCriterion, ThresholdStoppingCriterion
from dipy.tracking.tracker import deterministic_tracking, eudx_tracking

from common import Report
from torrey.tractography import Grid, SHField, Streamlines
from torrey.tractography.fields import PeakField
from torrey.tractography.propagation import (
    BinaryStopping,
    EuDX,
    MaximumDirection,
    SoftMaximumDirection,
    ThresholdStopping,
    track_dipy,
)
from torrey.tractography.propagation.dipy.hemisphere import default_hemisphere

WIDTHS = (34, 8, 8, 10, 10, 10, 12, 12, 8)
LENGTHS = {"min_length": 0.0, "max_length": 300.0}
DIPYS_LENGTHS = {"min_len": 0.0, "max_len": 300.0}


def clocked(function: Callable[[], Streamlines]) -> tuple[Streamlines, float, float]:
    """Return a result, and wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def row(report: Report, name: str, ours: Streamlines, theirs: list[np.ndarray], seconds: tuple) -> None:
    """Add what is equal, deviations in mm, and streamlines a second (wall; ours, theirs, CPU ratio)."""
    if len(ours) != len(theirs):
        report(f"{name}: {len(ours)} streamlines against {len(theirs)}")
        return
    same = [i for i, curve in enumerate(theirs) if len(curve) == int(ours.n_points[i])]
    apart = np.array([np.abs(ours[i].detach().numpy() - theirs[i]).max() for i in same])
    ours_wall, ours_cpu, theirs_wall, theirs_cpu = seconds
    n = len(theirs)
    report.row(
        name,
        n,
        f"{len(same) / n:.2%}",
        f"{(apart < 1e-10).sum() / n:.2%}",
        f"{(apart < 1e-3).sum() / n:.2%}",
        f"{apart.max():.1e}",
        f"{n / ours_wall:.0f}" if ours_wall else "",
        f"{n / theirs_wall:.0f}" if theirs_wall else "",
        f"{theirs_cpu / ours_cpu:.1f}" if theirs_cpu else "",
        widths=WIDTHS,
    )


def in_image_axes(coefficients: np.ndarray, affine: np.ndarray, degree: int) -> np.ndarray:
    """Return coefficients for the axes of the image, which DIPY tracks in."""
    m, l = sph_harm_ind_list(degree)
    vertices = default_hemisphere().numpy()
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def basis(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        polar, azimuth = np.arccos(vectors[:, 2]), np.arctan2(vectors[:, 1], vectors[:, 0])
        return real_sh_tournier_from_index(m, l, polar[:, None], azimuth[:, None], legacy=False)

    turned = np.linalg.lstsq(basis(vertices), basis(vertices @ axes.T), rcond=None)[0]
    return coefficients @ turned.T


def seeds_in(mask: np.ndarray, affine: np.ndarray, n: int) -> np.ndarray:
    """Return `n` random positions in mm in the voxels of a mask."""
    random = np.random.default_rng(1)
    voxels = np.argwhere(mask)
    chosen = voxels[random.integers(len(voxels), size=n)] + random.uniform(-0.5, 0.5, (n, 3))
    return chosen @ affine[:3, :3].T + affine[:3, 3]


def fibercup(report: Report, folder: Path) -> None:
    """Compare with the streamlines of the reference."""
    image = nibabel.load(folder / "mrtrix/fod_lmax8.nii.gz")
    field = SHField(torch.from_numpy(image.get_fdata()), torch.from_numpy(image.affine))
    mask = torch.from_numpy(nibabel.load(folder / "data/fibercup/wm.nii.gz").get_fdata())
    anisotropy = torch.from_numpy(nibabel.load(folder / "dipy/fibercup_fa.nii.gz").get_fdata())
    for name, stopping in (
        ("fibercup_det_sh", BinaryStopping(mask)),
        ("fibercup_det_sh_fastop", ThresholdStopping(anisotropy, 0.1)),
        ("fibercup_eudx_dti", None),
    ):
        stored = np.load(folder / f"dipy/{name}.npz")
        seeds = torch.from_numpy(stored["seeds"])
        if stopping is None:
            peaks = torch.from_numpy(stored["verts"][stored["peak_indices"].clip(0)])
            tracked = PeakField(peaks, torch.from_numpy(stored["peak_values"]), field.affine)
            directions, algorithm = None, EuDX()
            stopping = ThresholdStopping(torch.from_numpy(stored["fa"]), 0.1)  # noqa: PLW2901
        else:
            tracked, directions = field, torch.from_numpy(stored["seed_dirs"])
            algorithm = MaximumDirection(angle=60.0)
        ours = track_dipy(
            tracked, seeds, directions, algorithm=algorithm, stopping=stopping, step=0.3, **LENGTHS
        )
        row(report, name, ours, np.split(stored["points"], stored["offsets"][1:-1]), (0.0, 0.0, 0.0, 0.0))


def maximum_direction(report: Report, folder: Path, threads: int) -> None:
    """Run both on the FODs of the Vanderbilt image, whose affine is oblique and flips an axis."""
    image = nibabel.load(folder / "mrtrix_human/fod_lmax4.nii.gz")
    coefficients, affine = image.get_fdata(), image.affine
    strength = np.nan_to_num(coefficients[..., 0]) * np.sqrt(4 * np.pi)
    coefficients = np.nan_to_num(coefficients)
    strong = strength > np.percentile(strength[strength > 0], 60)
    seeds = seeds_in(strong, affine, 1000)
    field = SHField(torch.from_numpy(coefficients), torch.from_numpy(affine))
    stopping = BinaryStopping(torch.from_numpy(strong))

    def ours(algorithm: MaximumDirection | SoftMaximumDirection) -> Streamlines:
        start = torch.from_numpy(seeds)
        return track_dipy(field, start, algorithm=algorithm, stopping=stopping, step=0.3, **LENGTHS)

    turned = in_image_axes(coefficients, affine, 4)

    def theirs() -> list[np.ndarray]:
        criterion = BinaryStoppingCriterion(strong)
        options = {"basis_type": "tournier07", "legacy": False, "max_angle": 60.0, "step_size": 0.3}
        return list(
            deterministic_tracking(
                seeds.copy(), criterion, affine, sh=turned, nbr_threads=threads, **options, **DIPYS_LENGTHS
            )
        )

    algorithm = MaximumDirection(angle=60.0)
    ours(algorithm)
    tracks, *time_ours = clocked(lambda: ours(algorithm))
    curves, *time_theirs = clocked(theirs)
    row(report, "Vanderbilt, maximum direction", tracks, curves, (*time_ours, *time_theirs))
    for temperature in (1e-1, 1e-2, 1e-3):
        soft = ours(SoftMaximumDirection(temperature, angle=60.0))
        ends = {int(seed): curve[-1] for seed, curve in zip(tracks.seed_indices, tracks, strict=True)}
        apart = [
            float((ends[int(seed)] - curve[-1]).norm())
            for seed, curve in zip(soft.seed_indices, soft, strict=True)
            if int(seed) in ends
        ]
        report(f"  soft maximum, temperature {temperature:g}: ends {np.median(apart):.2g} mm away (median)")


def eudx(report: Report, folder: Path, threads: int) -> None:
    """Run both on principal axes of tensors, fitted by least squares to the Bangalore image."""
    path = folder / "data/human/bangalore_dti32_b1000"
    image = nibabel.load(f"{path}.nii.gz")
    mask = nibabel.load(f"{path}_mask.nii.gz").get_fdata() > 0
    bvals, bvecs = np.loadtxt(f"{path}.bval"), np.loadtxt(f"{path}.bvec")
    x, y, z = bvecs * np.sqrt(bvals)
    design = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z, -np.ones_like(x)], 1)
    logarithms = -np.log(image.get_fdata()[mask].clip(1))
    xx, yy, zz, xy, xz, yz = (np.linalg.pinv(design)[:6] @ logarithms.T).reshape(6, -1)
    tensors = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(tensors)
    spread = values - values.mean(1, keepdims=True)
    vertices = default_hemisphere().numpy()
    indices, anisotropy = np.zeros((*mask.shape, 1), np.int32), np.zeros((*mask.shape, 1))
    indices[mask, 0] = np.abs(vectors[:, :, 2] @ vertices.T).argmax(1)
    anisotropy[mask, 0] = np.sqrt(1.5 * (spread**2).sum(1) / (values**2).sum(1).clip(1e-30)).clip(0, 1)

    grid = Grid(mask.shape, torch.from_numpy(image.affine))
    peaks = torch.from_numpy(vertices)[torch.from_numpy(indices).long()] @ grid.axes.T
    field = PeakField(peaks, torch.from_numpy(anisotropy), grid.affine)
    stopping = ThresholdStopping(torch.from_numpy(anisotropy[..., 0]), 0.15)
    seeds = seeds_in(anisotropy[..., 0] > 0.3, image.affine, 20000)

    def ours() -> Streamlines:
        start = torch.from_numpy(seeds)
        return track_dipy(field, start, algorithm=EuDX(), stopping=stopping, **LENGTHS)

    def theirs() -> list[np.ndarray]:
        peaks = SimpleNamespace(peak_indices=indices, peak_values=anisotropy, odf_vertices=vertices)
        criterion = ThresholdStoppingCriterion(anisotropy[..., 0], 0.15)
        return list(
            eudx_tracking(
                seeds.copy(), criterion, image.affine, pam=peaks, nbr_threads=threads, **DIPYS_LENGTHS
            )
        )

    ours()
    tracks, *time_ours = clocked(ours)
    curves, *time_theirs = clocked(theirs)
    row(report, "Bangalore, EuDX", tracks, curves, (*time_ours, *time_theirs))

    wanting = PeakField(peaks.requires_grad_(), field.values, field.affine)
    start = torch.from_numpy(seeds[:2000])
    forward = clocked(lambda: track_dipy(wanting, start, algorithm=EuDX(), stopping=stopping, **LENGTHS))
    backward = clocked(lambda: forward[0].points.sum().backward())
    report(
        f"  gradient of {len(forward[0].points)} points: backward {backward[2]:.2f} s, "
        f"forward {forward[2]:.2f} s (CPU)"
    )


def main() -> None:
    """Write the table."""
    folder, threads = Path(sys.argv[1]), torch.get_num_threads()
    report = Report("dipy_parity")
    report("Of DIPY's streamlines: same number of points; within 1e-10 and 1e-3 mm; largest deviation, mm.")
    report("Streamlines a second, wall, Torrey and DIPY; CPU time of DIPY over Torrey's.")
    heads = ("", "n", "points", "1e-10 mm", "1e-3 mm", "max", "Torrey 1/s", "DIPY 1/s", "CPU")
    report.row(*heads, widths=WIDTHS)
    fibercup(report, folder)
    maximum_direction(report, folder, threads)
    eudx(report, folder, threads)
    report.write()


if __name__ == "__main__":
    main()

"""Streamlines of the compiled kernels beside MRtrix's, from the same seeds and directions in the same images.

    python benchmarks/tractography_parity.py FOLDER

FOLDER holds MRtrix's results on the FiberCup phantom (third-party data, which is not in the repository).
"Within" is the share of streamlines whose Hausdorff distance, up to reversal, is below 0.1 mm; the deviation
is the largest distance between points of the same index, median over streamlines; the angle is the mean
between steps. "Peaks" go on from where MRtrix's ascent ends to the peaks themselves, whose derivative the
adjoint is.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from scipy.spatial.distance import cdist

from common import Report
from torrey.tractography.harmonics import degree_of
from torrey.tractography.polynomial import harmonics_to_monomials
from torrey.tractography.propagation.compiled import MASK, PolynomialImage, Settings, grow, lay_regions

CASES = {
    "Euler": ("sdstream_euler", 0.3, False),
    "Euler, exact": ("sdstream_euler_noprecomp", 0.3, False),
    "RK4": ("sdstream_rk4", 0.75, True),
}
LONGEST = 300.0  # mm
ANGLE = 60.0
TOWARDS = (0.8, 0.5, 0.3)
FAR = 0.1  # mm


def polynomial_image(path: Path, dtype: type = np.float32) -> PolynomialImage:
    """Read coefficients of harmonics and convert them."""
    image = nibabel.load(path)
    harmonics = image.get_fdata()
    degree = degree_of(harmonics.shape[-1])
    values = harmonics.reshape(-1, harmonics.shape[-1]) @ harmonics_to_monomials(degree).numpy()
    return PolynomialImage(
        values=values.astype(dtype),
        occupied=(values != 0).any(1).astype(np.uint8),
        shape=np.array(harmonics.shape[:3]),
        world_to_voxel=np.linalg.inv(image.affine)[:3].copy(),
        degree=degree,
    )


class Difference(NamedTuple):
    """How a streamline differs from another."""

    hausdorff: float
    deviation: float
    angle: float


def difference(ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """Compare points (n, 3) and (m, 3): mm, mm over common points, degrees."""
    apart = cdist(ours, theirs)
    hausdorff = max(apart.min(0).max(), apart.min(1).max())
    turned = ours[::-1]
    common = min(len(ours), len(theirs))
    if np.abs(turned[:common] - theirs[:common]).max() < np.abs(ours[:common] - theirs[:common]).max():
        ours = turned
    deviation = np.linalg.norm(ours[:common] - theirs[:common], axis=1).max()
    steps = [np.diff(points[:common], axis=0) for points in (ours, theirs)]
    a, b = (step / np.linalg.norm(step, axis=1, keepdims=True) for step in steps)
    angle = 2 * np.arcsin(np.clip(np.linalg.norm(a - b, axis=1) / 2, 0, 1))
    return Difference(hausdorff, deviation, math.degrees(angle.mean()) if common > 1 else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    report = Report("tractography_parity")
    report(__doc__ or "")
    image = polynomial_image(folder / "mrtrix" / "fod_lmax8.nii.gz")
    white = nibabel.load(folder / "data" / "fibercup" / "wm.nii.gz")
    mask = lay_regions([(MASK, white.get_fdata(), np.linalg.inv(white.affine)[:3])])
    widths = (24, 12, 12, 16, 14)
    report.row("case", "streamlines", "within", "deviation, mm", "angle, °", widths=widths)
    far = []
    for (name, (file, step, rk4)), polished in ((case, p) for case in CASES.items() for p in (False, True)):
        with np.load(folder / "mrtrix" / f"{file}.npz") as archive:
            points, offsets, seeds = (archive[key].astype(float) for key in ("points", "offsets", "seeds"))
        settings = Settings(
            step=step,
            cosine=math.cos(math.radians(ANGLE)),
            cutoff=0.1,
            most_points=3 + math.ceil(LONGEST / step - 1e-4),
            least_points=1,
            unidirectional=False,
            rk4=rk4,
            sharpen=polished,
        )
        grown = grow(image, seeds, np.tile(TOWARDS, (len(seeds), 1)), settings, regions=mask)
        ours = np.split(grown.points, grown.offsets[1:-1])
        theirs = np.split(points, offsets[1:-1].astype(int))
        found = [difference(line, theirs[s]) for line, s in zip(ours, grown.seed_indices, strict=True)]
        within = sum(d.hausdorff < FAR for d in found) / len(theirs)
        report.row(
            f"{name}, peaks" if polished else name,
            f"{len(ours)}/{len(theirs)}",
            f"{within:.4f}",
            f"{np.median([d.deviation for d in found]):.1e}",
            f"{np.mean([d.angle for d in found]):.1e}",
            widths=widths,
        )
        for line, s, d in zip(ours, grown.seed_indices, found, strict=True):
            if d.hausdorff >= FAR:
                common = min(len(line), len(theirs[s]))
                apart = np.linalg.norm(line[:common] - theirs[s][:common], axis=1)
                which = f"{name}, peaks" if polished else name
                far.append(
                    f"{which}: seed {s}, {len(line)} points for {len(theirs[s])}, {d.hausdorff:.2g} mm, "
                    f"{np.median(apart):.1e} mm over common points"
                )
    report()
    for line in far:
        report(line)
    report.write()


if __name__ == "__main__":
    main()

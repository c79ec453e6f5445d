"""Streamlines beside MRtrix's, from the same seeds and directions in the same images.

    python benchmarks/tractography_parity.py FOLDER [--voxels 1800] [--fod FILE]

FOLDER holds MRtrix's results on the FiberCup phantom and a human image (Vanderbilt), and the human image
(Bangalore) on which `tckgen`, which must be installed, runs afresh, with its defaults and 8 seeds in each of
so many voxels of the brain. All are third-party data, which are not in the repository.

"Both" are the streamlines that both programs keep, of all that either keeps; "within" is the share of the
latter whose Hausdorff distance, up to reversal, is below 0.1 mm; the deviation is the largest distance of
points at the same step from the seed, median over streamlines; the angle is the mean between such steps, over
streamlines. Images and seeds are in float64 unless it says float32. Tensor_Det begins on the side that MRtrix
took, which is the arbitrary sign of an eigenvector and decides which half the longest length cuts.

"MRtrix beside itself" is `tckgen` run again on the image with the last bit of each of its numbers (float32)
changed at random: no program with arithmetic of its own can be expected to agree better.

Of the streamlines that are not within: what decided at the step where the two part, and the least move of the
seed (of 1e-6, 1e-5, 1e-4 mm, 6 directions each) that makes ours as different from itself.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from scipy.spatial import cKDTree

from common import Report
from mrtrix import Human, Tracks, command, human, make_fod, read_tracks, write_mask
from torrey.tractography import (
    DiffusionField,
    Euler,
    Region,
    RungeKutta,
    SDStream,
    SHField,
    Streamlines,
    TensorDet,
    grid_seeds,
    propagate,
)
from torrey.tractography.meridians import ELEVATIONS
from torrey.tractography.orientation import (
    GradientTable,
    read_fsl_gradients,
    read_harmonics,
    read_image,
    read_mrtrix_gradients,
)
from torrey.tractography.propagation.limits import steps_in
from tractography_difference import FAR, Difference, Seeded, Walk, by_seed, cause, difference, tipping_moves

TOWARDS = (0.8, 0.5, 0.3)
ANGLE = 60.0
FULLY_LISTED = 12
WIDTHS = (36, 14, 10, 16, 12)
METHODS = {"Euler": Euler(), "RK4": RungeKutta()}


@dataclass(frozen=True)
class Case:
    """A run of MRtrix and what it was run with."""

    name: str
    field: SHField | DiffusionField
    theirs: Tracks
    method: Euler | RungeKutta
    seeds: torch.Tensor  # (n, 3), of which some may have been dropped
    kept: np.ndarray  # the index of the seed of each of their streamlines
    cutoff: float = 0.1
    mask: Region | None = None
    lengths: dict[str, float] = field(default_factory=dict)
    elevations: int = ELEVATIONS
    nudged: dict[int, Seeded] | None = None  # theirs by seed, in the image with its last bits changed

    @property
    def algorithm(self) -> SDStream | TensorDet:
        """Torrey's name of MRtrix's algorithm."""
        return SDStream(elevations=self.elevations) if isinstance(self.field, SHField) else TensorDet()

    @property
    def directions(self) -> torch.Tensor:
        """(n, 3) where they began to go from the seeds: given, or an eigenvector of either sign."""
        directions = torch.tensor(TOWARDS, dtype=self.seeds.dtype).repeat(len(self.seeds), 1)
        if isinstance(self.field, DiffusionField):
            for i, seed in enumerate(self.kept.tolist()):
                line, place = self.theirs.line(i), int(self.theirs.places[i])
                if len(line) > 1:  # the first half comes reversed
                    step = line[place - 1] - line[place] if place else line[0] - line[1]
                    directions[seed] = torch.from_numpy(step.copy()).to(directions)
        return directions

    def grow(self, seeds: torch.Tensor, directions: torch.Tensor) -> Streamlines:
        """Return our streamlines from `seeds` (n, 3) towards `directions` (n, 3)."""
        tracks: Streamlines = propagate(
            self.field,
            seeds,
            algorithm=self.algorithm,
            method=self.method,
            directions=directions,
            cutoff=self.cutoff,
            mask=self.mask,
            **self.lengths,
        )
        return tracks

    @property
    def walk(self) -> Walk:
        """What decides along the way."""
        voxel = self.field.grid.voxel_size
        step = self.lengths.get("step", self.method.usual_step * voxel)
        most = 3 + steps_in(self.lengths.get("max_length", 100 * voxel), step)
        cosine = math.cos(math.radians(ANGLE))
        rule = self.algorithm.rule(self.field)
        return Walk(rule, self.method, step, self.cutoff, cosine, most, self.mask)

    def in_float32(self) -> Case:
        """Return the case with image and seeds in single precision."""
        image = "coefficients" if isinstance(self.field, SHField) else "images"
        single: Any = {image: getattr(self.field, image).float()}
        return replace(
            self,
            name=f"{self.name}, float32",
            field=replace(self.field, **single),
            seeds=self.seeds.float(),
        )


def diffusion_field(path: Path, table: Any) -> DiffusionField:
    """Read images; `table` reads their gradients, given the grid."""
    images, grid = read_image(path, n_dimensions=4)
    gradients: GradientTable = table(grid)
    return DiffusionField(images, grid.affine, gradients.bvals, gradients.directions)


def stored(folder: Path) -> Iterator[Case]:
    """Return the cases whose results are in the folder."""
    fibercup = folder / "data" / "fibercup"
    fod = SHField(*_with_affine(read_harmonics(folder / "mrtrix" / "fod_lmax8.nii.gz")))
    phantom = diffusion_field(
        fibercup / "acq-averaged_b-1500.nii.gz", lambda _: read_mrtrix_gradients(fibercup / "grad_b1500.b")
    )
    stem = folder / "data" / "human" / "vanderbilt_dti15_b2000"
    brain = diffusion_field(
        Path(f"{stem}.nii.gz"), lambda grid: read_fsl_gradients(f"{stem}.bval", f"{stem}.bvec", grid=grid)
    )
    white = Region(*_with_affine(read_image(fibercup / "wm.nii.gz", n_dimensions=3)))
    head = Region(*_with_affine(read_image(f"{stem}_mask.nii.gz", n_dimensions=3)))
    runs: list[tuple[str, str, SHField | DiffusionField, str, float, Region]] = [
        ("FiberCup SD_STREAM Euler", "mrtrix/sdstream_euler", fod, "Euler", 0.1, white),
        ("  -noprecomputed", "mrtrix/sdstream_euler_noprecomp", fod, "Euler", 0.1, white),
        ("FiberCup SD_STREAM RK4", "mrtrix/sdstream_rk4", fod, "RK4", 0.1, white),
        ("FiberCup Tensor_Det Euler", "mrtrix/tensordet_euler", phantom, "Euler", 0.1, white),
        ("FiberCup Tensor_Det RK4", "mrtrix/tensordet_rk4", phantom, "RK4", 0.1, white),
        ("Vanderbilt Tensor_Det Euler", "mrtrix_human/tensordet_euler", brain, "Euler", 0.15, head),
        ("Vanderbilt Tensor_Det RK4", "mrtrix_human/tensordet_rk4", brain, "RK4", 0.15, head),
    ]
    for name, file, image, method, cutoff, mask in runs:
        with np.load(folder / f"{file}.npz") as archive:
            theirs = Tracks(*(archive[key] for key in ("points", "offsets", "seed_index")))
        seeds = torch.from_numpy(theirs.seeds).double()
        step = 0.3 if method == "Euler" else 0.75
        lengths = {"step": step, "min_length": 0.0, "max_length": 300.0}
        case = Case(name, image, theirs, METHODS[method], seeds, np.arange(len(seeds)), cutoff, mask, lengths)
        yield replace(case, elevations=2**14) if "noprecomp" in file else case


def fresh(files: Human, fod: Path, n_voxels: int, out: Path) -> Iterator[Case]:
    """Run `tckgen` with its defaults, from 8 seeds in each of so many voxels of the brain."""
    brain, grid = read_image(files.mask, n_dimensions=3)
    voxels = brain.nonzero().numpy()
    chosen = np.random.default_rng(0).choice(len(voxels), n_voxels, replace=False)
    seed_mask = write_mask(voxels[chosen], files.mask, out / "seeds.nii.gz")
    seeds = grid_seeds(read_image(seed_mask, n_dimensions=3)[0], grid, 2)
    tracks, starts = out / "tracks.tck", out / "seeds.csv"
    gradients = ("-fslgrad", files.bvecs, files.bvals)
    images: dict[str, tuple[Path, Any, tuple[object, ...]]] = {
        "SD_STREAM": (fod, SHField(*_with_affine(read_harmonics(fod))), ()),
        "Tensor_Det": (
            files.image,
            diffusion_field(
                files.image, lambda grid: read_fsl_gradients(files.bvals, files.bvecs, grid=grid)
            ),
            gradients,
        ),
    }
    tree = cKDTree(seeds.numpy())

    def run(
        algorithm: str, method: str, source: Path, words: tuple[object, ...]
    ) -> tuple[Tracks, np.ndarray]:
        command(
            *("tckgen", "-quiet", "-force", "-nthreads", 2, "-algorithm", algorithm, source, tracks),
            *("-seed_grid_per_voxel", seed_mask, 2, "-select", 0, "-output_seeds", starts, *words),
            *(("-rk4",) if method == "RK4" else ()),
            *(("-seed_direction", ",".join(map(str, TOWARDS))) if algorithm == "SD_STREAM" else ()),
        )
        theirs = read_tracks(tracks, starts)
        apart, kept = tree.query(theirs.seeds)
        if apart.max() > 1e-4:
            raise ValueError(f"{tracks}: a seed is {apart.max():.2g} mm from those of the mask")
        return theirs, kept

    for algorithm, (source, image, words) in images.items():
        changed = nudge(source, out / "nudged.nii")
        for method, integration in METHODS.items():
            theirs, kept = run(algorithm, method, source, words)
            begun = seeds.clone()
            begun[torch.from_numpy(kept)] = torch.from_numpy(theirs.seeds).double()
            nudged = by_index(*run(algorithm, method, changed, words))
            name = f"Bangalore {algorithm} {method}"
            yield Case(name, image, theirs, integration, begun, kept, nudged=nudged)


def nudge(source: Path, path: Path) -> Path:
    """Write an image in float32 with every number one bit up or down."""
    image = nibabel.load(source)
    values = np.asarray(image.dataobj, dtype=np.float32)
    up = np.random.default_rng(0).random(values.shape, dtype=np.float32) < 0.5
    changed = np.nextafter(values, np.where(up, np.float32(np.inf), np.float32(-np.inf)))
    changed[values == 0] = 0  # voxels that are all zero are outside the image
    nibabel.save(nibabel.Nifti1Image(changed, image.affine), path)
    return path


def by_index(tracks: Tracks, kept: np.ndarray) -> dict[int, Seeded]:
    """Return streamlines by the index of their seeds."""
    return {seed: Seeded(tracks.line(i), int(tracks.places[i])) for i, seed in enumerate(kept.tolist())}


def _with_affine(read: tuple[torch.Tensor, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    image, grid = read
    return image, grid.affine


def compare(report: Report, case: Case) -> None:
    """Add rows of the table, and what is to be said of the streamlines that are not within."""
    theirs = by_index(case.theirs, case.kept)
    if case.nudged is not None:
        add_row(report, "MRtrix beside itself", case.nudged, theirs)
    ours = by_seed(case.grow(case.seeds, case.directions))
    differences = add_row(report, case.name, ours, theirs)
    far = [seed for seed, found in differences.items() if found.hausdorff >= FAR]
    either, both = ours.keys() | theirs.keys(), differences.keys()
    walk = case.walk
    notes, causes = [], Counter[str]()
    different = sorted([*far, *(either - set(both))])
    moves = tipping_moves(case.grow, case.seeds[different], case.directions[different]) if different else []
    for seed, move in zip(different, moves, strict=True):
        if seed in differences:
            why = cause(walk, ours[seed], theirs[seed])
            sizes = f"{len(ours[seed].points)} points for {len(theirs[seed].points)}"
            what = f"{sizes}, {differences[seed].hausdorff:.2g} mm"
        else:
            why, what = "", f"kept by {'Torrey' if seed in ours else 'MRtrix'} only"
        moved = f"seed moved by {move:g} mm" if math.isfinite(move) else "no move of the seed"
        why = why or ("chaos" if math.isfinite(move) else "UNEXPLAINED")
        causes[why] += 1
        if len(notes) < FULLY_LISTED or why == "UNEXPLAINED":
            notes.append(f"    seed {seed}: {what}: {why}; {moved}")
    if causes:
        counted = ", ".join(f"{number} {why}" for why, number in causes.most_common())
        report(f"  {len(far)} not within, {len(either) - len(both)} kept by one: {counted}")
    for line in notes:
        report(line)


def add_row(
    report: Report, name: str, ours: dict[int, Seeded], theirs: dict[int, Seeded]
) -> dict[int, Difference]:
    """Add a row of the table; return the differences of the streamlines of both, by seed."""
    differences = {seed: difference(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())}
    n_either = len(ours.keys() | theirs.keys())
    report.row(
        name,
        f"{len(differences)}/{n_either}",
        f"{sum(d.hausdorff < FAR for d in differences.values()) / n_either:.2%}",
        f"{np.median([d.deviation for d in differences.values()]):.1e}",
        f"{np.mean([d.angle for d in differences.values()]):.1e}",
        widths=WIDTHS,
    )
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--voxels", type=int, default=1800)
    parser.add_argument("--fod", type=Path)
    arguments = parser.parse_args()
    report = Report("tractography_parity")
    report(__doc__ or "")
    report.row("case", "both", "within", "deviation, mm", "angle, °", widths=WIDTHS)
    with tempfile.TemporaryDirectory() as name:
        out, files = Path(name), human(arguments.folder)
        for case in stored(arguments.folder):
            compare(report, case)
            compare(report, case.in_float32())
        fod = arguments.fod or make_fod(files, out)
        for case in fresh(files, fod, arguments.voxels, out):
            compare(report, case)
            if isinstance(case.field, SHField):
                compare(report, case.in_float32())
    report.write()


if __name__ == "__main__":
    main()

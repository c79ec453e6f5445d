"""MRtrix's programs, which must be installed, and the human image that benchmarks run them on."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np


class Human(NamedTuple):
    """The files of a human image, third-party data which is not in the repository."""

    image: Path
    mask: Path
    bvals: Path
    bvecs: Path


class Tracks(NamedTuple):
    """Streamlines: `points` (P, 3) mm, `offsets` (S + 1,) and the `places` (S,) of the seeds in them."""

    points: np.ndarray
    offsets: np.ndarray
    places: np.ndarray

    def line(self, index: int) -> np.ndarray:
        """Return the points of a streamline."""
        return self.points[self.offsets[index] : self.offsets[index + 1]]

    @property
    def seeds(self) -> np.ndarray:
        """(S, 3) where they began, mm."""
        return self.points[self.offsets[:-1] + self.places]


def human(folder: Path) -> Human:
    """Return 76 × 100 × 60 voxels, 32 directions, b = 1000 (Bangalore, dcm_qa_philips, BSD-2)."""
    stem = folder / "data" / "human" / "bangalore_dti32_b1000"
    return Human(*(Path(f"{stem}{end}") for end in (".nii.gz", "_mask.nii.gz", ".bval", ".bvec")))


def command(*words: object) -> None:
    """Run a program, quietly."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def make_fod(files: Human, out: Path) -> Path:
    """Make response and FODs in the folder `out`."""
    gradients = ("-fslgrad", files.bvecs, files.bvals)
    mask = ("-mask", files.mask)
    command("dwi2response", "fa", files.image, out / "response.txt", *gradients, *mask)
    command("dwi2fod", "csd", files.image, out / "response.txt", out / "fod.nii.gz", *gradients, *mask)
    return out / "fod.nii.gz"


def write_mask(voxels: np.ndarray, like: Path, path: Path) -> Path:
    """Write a mask of `voxels` (n, 3) on the grid of another image."""
    grid = nibabel.load(like)
    mask = np.zeros(grid.shape[:3], np.uint8)
    mask[tuple(voxels.T)] = 1
    nibabel.save(nibabel.Nifti1Image(mask, grid.affine), path)
    return path


def read_tracks(tracks: Path, seeds: Path) -> Tracks:
    """Read the files of `tckgen` and of its `-output_seeds`, whose coordinates have six digits only."""
    lines = nibabel.streamlines.load(tracks).streamlines
    index, place = np.loadtxt(seeds, delimiter=",", usecols=(0, 1), dtype=int, ndmin=2).T
    if not np.array_equal(index, np.arange(len(lines))):
        raise ValueError(f"{seeds}: {len(index)} seeds; expected one for each of {len(lines)} streamlines")
    offsets = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    return Tracks(np.concatenate(list(lines)), offsets, place)

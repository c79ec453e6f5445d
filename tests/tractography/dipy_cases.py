"""A small image of orientations, in several frames, and DIPY's own streamlines through it."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import torch

from torrey.tractography import Grid
from torrey.tractography.fields import PeakField, SHField
from torrey.tractography.propagation.dipy.hemisphere import default_hemisphere

DATA = Path(__file__).parents[1] / "data"

# voxels that are no cubes, turned, with one axis flipped (negative determinant)
_TURN = np.linalg.qr(np.array([[1.0, 0.3, -0.2], [-0.25, 1.0, 0.4], [0.3, -0.35, 1.0]]))[0]
_TURN = _TURN * np.sign(np.diag(_TURN))
_OBLIQUE = np.eye(4)
_OBLIQUE[:3, :3] = _TURN @ np.diag([-2.0, 1.5, 2.4])
_OBLIQUE[:3, 3] = [7.0, -12.0, 3.0]
AFFINES = {"straight": np.array(np.diag([2.0, 2.0, 2.0, 1.0])), "oblique": _OBLIQUE}


@cache
def coefficients() -> np.ndarray:
    """Return the coefficients (16, 8, 8, 45)."""
    return nibabel.load(DATA / "ptt_fod.nii").get_fdata()


def sh_field(frame: str) -> SHField:
    return SHField(torch.from_numpy(coefficients().copy()), torch.from_numpy(AFFINES[frame]))


def in_image_axes(frame: str) -> np.ndarray:
    """Return the coefficients of `sh_field` in the axes of the image, through DIPY's own basis."""
    from dipy.reconst.shm import real_sh_tournier_from_index, sph_harm_ind_list

    m, l = sph_harm_ind_list(8)
    axes = AFFINES[frame][:3, :3] / np.linalg.norm(AFFINES[frame][:3, :3], axis=0)
    image_axes = default_hemisphere().numpy()

    def basis(vectors):
        polar = np.arccos(np.clip(vectors[:, 2], -1, 1))[:, None]
        return real_sh_tournier_from_index(
            m, l, polar, np.arctan2(vectors[:, 1], vectors[:, 0])[:, None], legacy=False
        )

    turned = np.linalg.lstsq(basis(image_axes), basis(image_axes @ axes.T), rcond=None)[0]
    return coefficients() @ turned.T


@cache
def peak_indices() -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (16, 8, 8, 2) of the largest amplitude, and of the next 40° away, and their values."""
    vertices = default_hemisphere().numpy()
    from torrey.tractography import harmonics

    amplitudes = coefficients() @ harmonics(torch.from_numpy(vertices), 8).numpy().T
    first = amplitudes.argmax(-1)
    apart = np.abs(vertices[first] @ vertices.T) < np.cos(np.radians(40))
    second = np.where(apart, amplitudes, -np.inf).argmax(-1)
    indices = np.stack([first, second], -1)
    return indices.astype(np.int32), np.take_along_axis(amplitudes, indices, -1).clip(0)


def peak_field(frame: str) -> PeakField:
    indices, values = peak_indices()
    grid = Grid((16, 8, 8), torch.from_numpy(AFFINES[frame]))
    peaks = default_hemisphere()[torch.from_numpy(indices).long()] @ grid.axes.T
    return PeakField(peaks, torch.from_numpy(values), grid.affine)


def strength() -> np.ndarray:
    """Return an image (16, 8, 8) to stop by, the largest amplitude of each voxel."""
    return peak_indices()[1][..., 0]


def seeds(frame: str, n: int, seed: int = 3) -> np.ndarray:
    """Return `n` positions (n, 3) in mm in voxels that are not weak."""
    random = np.random.default_rng(seed)
    strong = np.argwhere(strength() > 0.1)
    voxels = strong[random.integers(len(strong), size=n)] + random.uniform(-0.5, 0.5, (n, 3))
    return voxels @ AFFINES[frame][:3, :3].T + AFFINES[frame][:3, 3]


def dipys_peaks() -> SimpleNamespace:
    indices, values = peak_indices()
    return SimpleNamespace(
        peak_indices=indices, peak_values=values, odf_vertices=default_hemisphere().numpy()
    )

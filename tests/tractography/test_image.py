import nibabel
import numpy as np
import pytest
import torch
from fibre_phantom import OBLIQUE

from torrey.errors import FileError
from torrey.tractography import Grid
from torrey.tractography.orientation import read_harmonics, read_image, read_labels, read_mask, write_image


def save(path, shape, *, dtype=np.float32, affine=OBLIQUE, values=None):
    data = np.arange(np.prod(shape), dtype=dtype).reshape(shape) if values is None else values
    nibabel.save(nibabel.Nifti1Image(data, affine), path)
    return path


def test_an_image_is_read_with_its_scaling_and_affine(tmp_path):
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), OBLIQUE)
    image.header.set_slope_inter(0.5, 3.0)
    nibabel.save(image, tmp_path / "a.nii")
    data, grid = read_image(tmp_path / "a.nii", n_dimensions=3)
    assert data.dtype == torch.float64
    assert data.flatten().tolist() == nibabel.load(tmp_path / "a.nii").get_fdata().ravel().tolist()
    # float32 in the header
    assert grid.affine.numpy() == pytest.approx(OBLIQUE, abs=1e-5)


def test_what_is_written_is_read_back(tmp_path):
    grid = Grid((2, 3, 4), torch.from_numpy(OBLIQUE))
    data = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    write_image(tmp_path / "a.nii.gz", data, grid)
    coefficients, found = read_harmonics(tmp_path / "a.nii.gz")
    assert torch.equal(coefficients.float(), data)
    assert found.matches(grid)
    write_image(tmp_path / "b.nii", data[..., 0] > 0, grid)
    assert torch.equal(read_mask(tmp_path / "b.nii", grid), data[..., 0] > 0)
    write_image(tmp_path / "c.nii", torch.arange(24).reshape(2, 3, 4), grid)
    assert torch.equal(read_labels(tmp_path / "c.nii")[0], torch.arange(24).reshape(2, 3, 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii", "c.nii"]


def test_a_trailing_dimension_of_one_is_dropped(tmp_path):
    data, _ = read_image(save(tmp_path / "a.nii", (2, 3, 4, 1)), n_dimensions=3)
    assert data.shape == (2, 3, 4)


def no_affine(path):
    save(path, (2, 3, 4))
    image = nibabel.load(path)
    image.header["sform_code"] = image.header["qform_code"] = 0
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)
    path.write_bytes(raw)


def cut(path):
    save(path, (20, 20, 20))
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "read", "words"),
    [
        (lambda path: None, read_labels, "no such file"),
        (lambda path: path.write_text("hello"), read_labels, "is no NIfTI image"),
        (lambda path: path.mkdir(), read_labels, "is a folder"),
        (no_affine, read_labels, "has no affine (neither qform nor sform)"),
        (cut, read_labels, "is cut short or damaged"),
        (lambda path: save(path, (2, 3, 4)), read_harmonics, "has 3 dimensions (2×3×4); expected 4"),
        (lambda path: save(path, (2, 3, 4, 5)), read_labels, "has 4 dimensions (2×3×4×5); expected 3"),
        (lambda path: save(path, (2, 3, 4, 16)), read_harmonics, "16 spherical-harmonic coefficients"),
        (
            lambda path: save(path, (2, 2, 2), values=np.full((2, 2, 2), 1.5)),
            read_labels,
            "voxel (0, 0, 0) is 1.5; expected whole numbers from 0",
        ),
        (
            lambda path: save(path, (2, 2, 2), values=np.full((2, 2, 2), 1j, np.complex64)),
            read_labels,
            "holds complex64; expected real numbers",
        ),
        (
            lambda path: save(path, (2, 2, 2)),
            lambda path: read_mask(path, Grid((2, 2, 3), torch.eye(4))),
            "lies on another grid",
        ),
        (
            lambda path: save(path, (2, 2, 2), values=np.zeros((2, 2, 2))),
            lambda path: read_mask(path, Grid((2, 2, 2), torch.from_numpy(OBLIQUE))),
            "is zero everywhere",
        ),
    ],
)
def test_bad_images(tmp_path, make, read, words):
    path = tmp_path / "image.nii"
    make(path)
    with pytest.raises(FileError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_a_gzip_cut_short(tmp_path):
    path = save(tmp_path / "a.nii.gz", (20, 20, 20), values=np.random.default_rng(0).random((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(FileError, match="cut short"):
        read_image(path, n_dimensions=3)


def test_an_image_that_cannot_be_written(tmp_path):
    grid = Grid((2, 2, 2), torch.eye(4))
    with pytest.raises(FileError, match=r"unknown kind of image; expected \.nii or \.nii\.gz"):
        write_image(tmp_path / "a.mif", torch.zeros(2, 2, 2), grid)
    with pytest.raises(FileError, match="cannot be written"):
        write_image(tmp_path / "no" / "a.nii", torch.zeros(2, 2, 2), grid)

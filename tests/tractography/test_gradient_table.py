import shutil

import nibabel
import numpy as np
import pytest
import torch
from fibre_phantom import OBLIQUE, run

from torrey.errors import FileError, InputError
from torrey.tractography import Grid
from torrey.tractography.orientation import GradientTable, read_fsl_gradients, read_mrtrix_gradients

BVALS = "0 5 1000 1010 3000 2990\n"
BVECS = "0 0 1 0 0.6 0\n0 0 0 1 0 0.8\n0 1 0 0 0.8 -0.6\n"


def grid(affine):
    return Grid((2, 2, 2), torch.as_tensor(affine, dtype=torch.float64))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "dwi.bval").write_text(BVALS)
    (tmp_path / "dwi.bvec").write_text(BVECS)
    return tmp_path


UPRIGHT = np.eye(4)


def read(folder, affine=UPRIGHT):
    return read_fsl_gradients(folder / "dwi.bval", folder / "dwi.bvec", grid=grid(affine))


def test_shells_and_b0s(files):
    table = read(files)
    assert table.b0s.tolist() == [True, True, False, False, False, False]
    assert [(bval, mask.nonzero()[:, 0].tolist()) for bval, mask in table.shells] == [
        (1005.0, [2, 3]),
        (2995.0, [4, 5]),
    ]
    assert table.shell().tolist() == table.shell(3000).tolist() == table.shells[1][1].tolist()
    with pytest.raises(InputError, match="no shell at b = 2000 s/mm²; expected one of 1005, 2995"):
        table.shell(2000)


def test_fsl_negates_x_where_the_affine_keeps_handedness(files):
    """FSL counts x to the left: of an image with positive determinant x is turned round, else it stays."""
    assert read(files).directions[2].tolist() == [-1, 0, 0]
    assert read(files, np.diag([-2.0, 2, 2, 1])).directions[2].tolist() == [-1, 0, 0]
    assert read(files).directions[4].tolist() == pytest.approx([-0.6, 0, 0.8])


@pytest.mark.parametrize("flip", [1, -1])
def test_fsl_directions_are_those_of_mrtrix(files, flip):
    if shutil.which("mrinfo") is None:
        pytest.skip("MRtrix is not installed")
    rotation, _ = np.linalg.qr(OBLIQUE[:3, :3])
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array([2.0 * flip, 1.5, 3.0])
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2, 6), np.float32), affine), files / "dwi.nii")
    (files / "dwi.bvec").write_text(BVECS.replace("1", "1.02", 1))  # weights by 1.02² more
    text = run(files, "mrinfo", "dwi.nii", "-fslgrad", "dwi.bvec", "dwi.bval", "-dwgrad")
    theirs = np.array([[float(word) for word in line.split()] for line in text.splitlines()])
    table = read(files, affine)
    # MRtrix prints ten digits, NIfTI holds the affine as float32
    assert table.directions.numpy() == pytest.approx(theirs[:, :3], abs=2e-6)
    assert table.bvals.numpy() == pytest.approx(theirs[:, 3])


def test_rows_or_columns_are_the_same(files):
    rows = np.loadtxt(files / "dwi.bvec")
    table = read(files)
    np.savetxt(files / "dwi.bvec", rows.T)
    (files / "dwi.bval").write_text("\n".join(BVALS.split()))
    assert torch.equal(read(files).directions, table.directions)


def test_mrtrix_directions_are_in_the_world(tmp_path):
    (tmp_path / "grad.b").write_text("# a comment\n0 0 0 0\n0.6, 0, 0.8, 700\n")
    table = read_mrtrix_gradients(tmp_path / "grad.b")
    assert table.bvals.tolist() == [0, 700]
    assert table.directions.tolist() == [[0, 0, 0], [0.6, 0, 0.8]]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("dwi.bvec", None, "dwi.bvec: no such file"),
        ("dwi.bval", "0 1000 1000", "6 directions; expected 3, as in"),
        ("dwi.bvec", "1 0\n0 1\n", "2 rows of 2 values; expected 3×N or N×3"),
        ("dwi.bvec", BVECS.replace("-0.6", "nan"), "line 3: bvec is nan; expected a finite number"),
        ("dwi.bvec", BVECS.replace("0.8 -0.6", "0.8 -1.6"), "volume 6: length of the direction is 1.78"),
        ("dwi.bval", BVALS.replace("1010", "many"), "line 1: bval is 'many'; expected a number"),
        (
            "dwi.bval",
            BVALS.replace("1010", "-1010"),
            "volume 4: bval is -1010; expected a finite number from 0",
        ),
        ("dwi.bval", "0 0 1 1 3 3", "the largest bval is 3; expected s/mm², not ms/µm²"),
        ("dwi.bval", "\n", "dwi.bval: is empty"),
    ],
)
def test_bad_files(files, name, text, words):
    if text is None:
        (files / name).unlink()
    else:
        (files / name).write_text(text)
    with pytest.raises(FileError) as caught:
        read(files)
    assert words in str(caught.value)


def test_a_table_for_another_number_of_volumes():
    table = GradientTable(torch.tensor([0.0, 1000.0]), torch.eye(3)[:2])
    with pytest.raises(InputError, match="2 b-values and directions for an image of 3 volumes"):
        table.require_volumes(3)

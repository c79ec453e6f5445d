"""`torrey fod` on a small image: what it writes, and one line for each wrong input."""

import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from torrey.cli import main
from torrey.terminal import counting
from torrey.tractography.orientation import (
    HighestAnisotropy,
    deconvolve,
    estimate_response,
    read_harmonics,
    read_response,
    write_response,
)

sys.path.insert(0, str(Path(__file__).parent / "tractography"))
from fibre_phantom import OBLIQUE, noisy_crossings, protocol, response, write_dwi

GRAD = ("fod", "dwi.nii.gz", "--grad", "grad.b", "--response", "response.txt", "-o", "fod.nii.gz")
FSL = (*GRAD[:2], "--bvals", "dwi.bval", "--bvecs", "dwi.bvec", *GRAD[4:])
ESTIMATING = (*GRAD[:4], *GRAD[6:], "--mask", "mask.nii")


@pytest.fixture
def signals():
    return noisy_crossings(protocol(), 12).reshape(3, 2, 2, -1)


@pytest.fixture
def folder(tmp_path, monkeypatch, signals):
    table = protocol()
    write_dwi(tmp_path, signals, table)
    write_response(tmp_path / "response.txt", response(), bval=2000)
    axes = OBLIQUE[:3, :3] / np.linalg.norm(OBLIQUE[:3, :3], axis=0)
    np.savetxt(tmp_path / "dwi.bvec", np.linalg.solve(axes, table.directions.numpy().T), fmt="%.17g")
    np.savetxt(tmp_path / "dwi.bval", table.bvals.numpy()[None], fmt="%g")
    mask = np.zeros((3, 2, 2), np.uint8)
    mask[1] = 1
    nibabel.save(nibabel.Nifti1Image(mask, OBLIQUE), tmp_path / "mask.nii")
    nibabel.save(nibabel.Nifti1Image(mask[:2], OBLIQUE), tmp_path / "small.nii")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_what_deconvolve_gives(folder, signals, capsys):
    assert main([*GRAD, "--mask", "mask.nii", "--degree", "6"]) == 0
    assert capsys.readouterr() == ("fod.nii.gz: 28 coefficients in each of 4 voxels\n", "")
    found, grid = read_harmonics("fod.nii.gz")
    expected = deconvolve(signals[1], protocol(), response(), degree=6)
    # written as float32
    assert found[1].numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert bool((found[[0, 2]] == 0).all())
    assert grid.affine.numpy() == pytest.approx(OBLIQUE, abs=1e-5)


def test_either_kind_of_gradients_gives_the_same(folder, capsys):
    assert main(GRAD) == 0
    first, _ = read_harmonics("fod.nii.gz")
    assert main(FSL) == 0
    second, _ = read_harmonics("fod.nii.gz")
    # the affine of the image is float32; axes of the phantom are not quite at right angles
    assert second.numpy() == pytest.approx(first.numpy(), abs=1e-5)


def test_without_a_response_it_is_estimated(folder, signals, capsys):
    estimating = [*ESTIMATING, "--degree", "4", "--response-voxels", "3"]
    assert main([*estimating, "--response-algorithm", "fa", "--write-response", "new.txt"]) == 0
    assert "response of 3 voxels: " in capsys.readouterr().out
    chosen = torch.zeros(3, 2, 2, dtype=torch.bool)
    chosen[1] = True
    how = HighestAnisotropy(3)
    expected, _ = estimate_response(signals, protocol(), mask=chosen, algorithm=how, degree=4)
    # fifteen digits are written
    assert read_response("new.txt").numpy() == pytest.approx(expected.numpy(), rel=1e-12)


def test_voxels_that_are_not_finite_are_left_out(folder, signals, capsys):
    signals[0, 0, 0, 3] = float("nan")
    write_dwi(folder, signals, protocol())
    assert main(GRAD) == 0
    assert "11 voxels" in capsys.readouterr().out
    found, _ = read_harmonics("fod.nii.gz")
    assert bool((found[0, 0, 0] == 0).all())


def test_progress_off_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("torrey.terminal.SECONDS_BETWEEN_LINES", 0.0)
    with counting("deconvolving 4 voxels") as progress:
        progress(3, 4)
    assert capsys.readouterr().err == "torrey: deconvolving 4 voxels: 3 of 4\n"


def swapped(argv, old, new):
    return tuple(new if word == old else word for word in argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (swapped(GRAD, "dwi.nii.gz", "mask.nii"), ("mask.nii", "3 dimensions", "expected 4")),
        (swapped(GRAD, "dwi.nii.gz", "no.nii"), ("no.nii", "no such file")),
        (swapped(GRAD, "dwi.nii.gz", "grad.b"), ("grad.b", "no NIfTI")),
        (swapped(GRAD, "grad.b", "short.b"), ("dwi.nii.gz", "2 b-values", "47 volumes")),
        (swapped(FSL, "dwi.bval", "short.bval"), ("dwi.bvec", "47 directions", "expected 2", "short.bval")),
        (swapped(FSL, "--bvecs", "--grad"), ("--bvals and --bvecs, or --grad",)),
        (GRAD[:2] + GRAD[4:], ("--bvals and --bvecs, or --grad",)),
        ((*GRAD, "--mask", "small.nii"), ("small.nii", "another grid")),
        ((*GRAD, "--mask", "dwi.nii.gz"), ("dwi.nii.gz", "4 dimensions", "expected 3")),
        ((*GRAD, "--degree", "7"), ("degree is 7", "even")),
        ((*GRAD, "--shell", "1000"), ("no shell at b = 1000", "2000")),
        ((*GRAD, "--directions", "response.txt"), ("response.txt", "expected 2 values in every row")),
        (swapped(GRAD, "response.txt", "no.txt"), ("no.txt", "no such file")),
        (swapped(GRAD, "response.txt", "grad.b"), ("grad.b", "47 rows")),
        ((*GRAD, "--response-algorithm", "fa"), ("--response is given", "no --response-algorithm")),
        ((*GRAD, "--response-voxels", "100"), ("--response is given", "no --response-algorithm")),
        ((*GRAD[:4], *GRAD[6:]), ("expected --response, or a --mask",)),
        (ESTIMATING, ("mask has 4 voxels", "expected 300")),
        (swapped(GRAD, "fod.nii.gz", "fod.mif"), ("fod.mif", ".nii.gz")),
        (swapped(GRAD, "fod.nii.gz", "dwi.nii.gz"), ("dwi.nii.gz", "input")),
        ((*ESTIMATING, "--write-response", "new.mif"), ("new.mif", "expected .txt")),
        (
            (*ESTIMATING, "--directions", "response.txt", "--write-response", "response.txt"),
            ("response.txt: is an input",),
        ),
    ],
)
def test_bad_input_is_one_line(folder, capsys, argv, words):
    (folder / "short.b").write_text("0 0 0 0\n1 0 0 2000\n")
    (folder / "short.bval").write_text("0 2000\n")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("torrey: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before

"""`torrey connectome`: its matrix by hand-counted streamlines, and what it says of bad input."""

import nibabel
import numpy as np
import pytest
from nibabel.streamlines import TckFile, Tractogram

from torrey.cli import main

LABELS = np.array([[[1, 0, 0, 2, 0, 3]]], dtype=np.int16)
AFFINE = np.diag([2.0, 2, 2, 1])
CURVES = [[0.0, 6], [0, 4.5], [10, 6], [0.5, 0], [30, 40]]
"""First and last z of streamlines along z, mm, where voxels of labels are centred at 0, 6 and 10."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    curves = [np.array([[0, 0, z] for z in np.linspace(*ends, 7)], dtype=np.float32) for ends in CURVES]
    TckFile(Tractogram(curves, affine_to_rasmm=np.eye(4))).save(tmp_path / "tracks.tck")
    nibabel.save(nibabel.Nifti1Image(LABELS, AFFINE), tmp_path / "labels.nii.gz")
    nibabel.save(nibabel.Nifti1Image(LABELS * 0.5, AFFINE), tmp_path / "halves.nii.gz")
    far = AFFINE + np.array([[0, 0, 0, 90]] * 3 + [[0] * 4])
    nibabel.save(nibabel.Nifti1Image(LABELS, far), tmp_path / "far.nii.gz")
    (tmp_path / "weights.txt").write_text("# of tcksift2\n0.5 0.25\n1\n2\n4\n", encoding="utf-8")
    (tmp_path / "short.txt").write_text("1 2 3\n", encoding="utf-8")
    (tmp_path / "words.txt").write_text("1 2 3 4 five\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options):
    assert main(["connectome", "tracks.tck", "labels.nii.gz", "-o", "c.csv", *options]) == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # the second ends 1.5 mm from node 2, in a voxel without; 4 mm find it
        ((), "1,2,0\n2,0,1\n0,1,0\n"),
        (("--assignment", "end"), "1,1,0\n1,0,1\n0,1,0\n"),
        (("--distance", "1.4"), "1,1,0\n1,0,1\n0,1,0\n"),
        (("--assignment", "forward", "--distance", "2"), "1,2,0\n2,0,1\n0,1,0\n"),
        (("--assignment", "end", "--keep-unassigned"), "1,1,0,0\n1,1,1,0\n0,1,0,1\n0,0,1,0\n"),
        (("--no-symmetric", "--zero-diagonal"), "0,2,0\n0,0,1\n0,0,0\n"),
        (("--weights", "weights.txt"), "2,0.75,0\n0.75,0,1\n0,1,0\n"),
        (("--values", "weights.txt", "--statistic", "max"), "2,0.5,nan\n0.5,nan,1\nnan,1,nan\n"),
        (("--scale", "length", "--statistic", "mean"), "0.5,5.25,0\n5.25,0,4\n0,4,0\n"),
        (("--scale", "inverse-length", "--values", "weights.txt"), None),
    ],
)
def test_the_matrix_counts_streamlines(options, expected, capsys, folder):
    run(*options)
    written = (folder / "c.csv").read_text(encoding="utf-8")
    if expected is None:
        # 2/0.5, 0.5/6 + 0.25/4.5 and 1/4; lengths are of points in single precision
        matrix = np.loadtxt("c.csv", delimiter=",")
        np.testing.assert_allclose(matrix[[0, 0, 1], [0, 1, 2]], [4, 0.5 / 6 + 0.25 / 4.5, 0.25], rtol=1e-6)
    else:
        assert written == expected
    assert capsys.readouterr().out.startswith("c.csv: ")
    assert sorted(path.suffix for path in folder.iterdir()) == sorted(
        [".csv", ".gz", ".gz", ".gz", ".tck", ".txt", ".txt", ".txt"]
    )


def test_assignments_are_written_too(folder, capsys):
    run("--assignments", "nodes.txt")
    assert (folder / "nodes.txt").read_text(encoding="utf-8") == "1 2\n1 2\n3 2\n1 1\n0 0\n"
    assert capsys.readouterr().out == "c.csv: 3 nodes, 4 of 5 streamlines have one at both ends\n"


def test_a_report_is_one_page(folder, capsys):
    run("--report", "page.html", "--keep-unassigned")
    page = (folder / "page.html").read_text(encoding="utf-8")
    for text in ("streamlines <b>5</b>", "with a node at both ends <b>4</b>", "nodes <b>3</b>"):
        assert text in page
    # 0-0, 1-1, 1-2, 2-3
    assert "edges <b>4</b>" in page
    assert "RadialSearch(radius=4.0)" in page
    assert (folder / "c.csv").exists()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("tracks.tck", "halves.nii.gz"), "halves.nii.gz: labels hold 0.5 at voxel (0, 0, 0)"),
        (("tracks.tck", "far.nii.gz"), "tracks.tck: no streamline meets the label image"),
        (("none.tck", "labels.nii.gz"), "none.tck: no such file"),
        (("tracks.tck", "labels.nii.gz", "--weights", "short.txt"), "short.txt: 3 numbers; expected 5"),
        (("tracks.tck", "labels.nii.gz", "--values", "words.txt"), "words.txt: line 1: a value is 'five'"),
        (("tracks.tck", "labels.nii.gz", "--assignment", "forward"), "forward needs --distance MM"),
        (("tracks.tck", "labels.nii.gz", "--assignment", "end", "--distance", "2"), "end looks no further"),
        (("tracks.tck", "labels.nii.gz", "--distance", "-2"), "radius is -2.0; expected a positive number"),
        (("tracks.tck", "labels.nii.gz", "--assignments", "out.csv"), "out.csv: is an input"),
        (("tracks.tck", "labels.nii.gz", "--report", "out.pdf"), "out.pdf: unknown kind of output file"),
        (("tracks.tck", "labels.nii.gz", "-o", "out.tck"), "out.tck: unknown kind of output file"),
    ],
)
def test_bad_input_is_one_line(argv, words, capsys, folder):
    before = sorted(folder.iterdir())
    output = () if "-o" in argv else ("-o", "out.csv")
    assert main(["connectome", *argv, *output]) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, err.count("\n")) == ("", 1)
    assert sorted(folder.iterdir()) == before

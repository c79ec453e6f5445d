"""`torrey track`: equal to tckgen on small fields; it and its neighbours say one line of a wrong input."""

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from nibabel.streamlines import TckFile

from torrey.cli import main
from torrey.tractography import IFOD1, SHField, grid_seeds, harmonics, read_tractogram, sample_streamlines
from torrey.tractography.orientation import read_harmonics, read_region

sys.path.insert(0, str(Path(__file__).parent / "tractography"))
from fibre_phantom import fibre_signals, protocol, write_dwi

SHAPE = (9, 10, 5)
CENTRE = np.array([4.0, 4.0, 2.0])
TURN = np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [0.2, 1.0, -0.1], [0.0, 0.1, 1.0]]))[0]
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN * [2.0, 2.0, 2.5]
AFFINE[:3, 3] = [12.0, -8.0, 3.0]

TRACK = ("track", "fod.nii.gz", "--seeds", "seeds.nii.gz", "--seed-direction", "-0.3,0.8,0.2")
TENSOR = ("track", "dwi.nii.gz", "--algorithm", "tensor_det", *TRACK[2:], "--grad", "grad.b")
EUDX = ("track", "dwi.nii.gz", "--algorithm", "eudx", "--seeds", "seeds.nii.gz", "--grad", "grad.b")
SETTINGS = {
    "usual": ((), ()),
    "rk4": (("--method", "rk4", "--step", "0.7"), ("-rk4", "-step", "0.7")),
    "mask": (
        ("--mask", "mask.nii.gz", "--min-length", "0", "--max-length", "20", "--unidirectional"),
        ("-mask", "mask.nii.gz", "-minlength", "0", "-maxlength", "20", "-seed_unidirectional"),
    ),
    "regions": (
        ("--include", "left.nii.gz", "low.nii.gz", "--exclude", "far.nii.gz"),
        ("-include", "left.nii.gz", "-include", "low.nii.gz", "-exclude", "far.nii.gz"),
    ),
    "angle": (("--angle", "4"), ("-angle", "4")),
    "cutoff": (("--cutoff", "0.4"), ("-cutoff", "0.4")),
}


needs_mrtrix = pytest.mark.skipif(shutil.which("tckgen") is None, reason="MRtrix is not installed")


def save(path, values):
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Fibres that run in circles about an axis of the image, as distributions and as signals, with masks."""
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) - CENTRE
    around = np.stack([-places[..., 1], places[..., 0], 0.3 + 0 * places[..., 2]], -1) @ TURN.T
    around = torch.tensor(around / np.linalg.norm(around, axis=-1, keepdims=True)).flatten(0, 2)
    degrees = torch.tensor([d for d in range(0, 7, 2) for _ in range(2 * d + 1)])
    lobes = harmonics(around, 6) * (-0.03 * degrees * (degrees + 1)).exp()
    # thinner outwards, so that a cutoff has something to cut
    thinner = torch.tensor(np.exp(-((places[..., 0] / 2.5) ** 2))).flatten()[:, None]
    save(tmp_path / "fod.nii.gz", (lobes * thinner).reshape(*SHAPE, -1).numpy().astype(np.float32))
    table = protocol(20)
    write_dwi(tmp_path, fibre_signals(table, around[:, None]).reshape(*SHAPE, -1), table, AFFINE)
    seeds, mask, left, low, far = (np.zeros(SHAPE, np.uint8) for _ in range(5))
    seeds[2:7, 3:6, 2] = 1
    mask[:, 2:, 1:] = 1
    left[:4] = 1
    low[:, :3] = 1
    far[:, 7:] = 1
    for name, values in {"seeds": seeds, "mask": mask, "left": left, "low": low, "far": far}.items():
        save(tmp_path / f"{name}.nii.gz", values)
    save(tmp_path / "no.nii.gz", seeds * 0)
    save(tmp_path / "labels.nii.gz", left + low)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tckgen(algorithm, image, *options, per_voxel="1"):
    command = ["tckgen", image, "reference.tck", "-algorithm", algorithm, "-quiet", "-nthreads", "0"]
    command += ["-seed_grid_per_voxel", "seeds.nii.gz", per_voxel, "-seed_direction", "-0.3,0.8,0.2"]
    subprocess.run([*command, "-select", "0", *options], check=True, capture_output=True)
    return TckFile.load("reference.tck").streamlines


def assert_same_curves(found, expected):
    """Same curves in the same order, either way round: tensors have no sign."""
    assert [len(curve) for curve in found] == [len(curve) for curve in expected]
    for curve, other in zip(found, expected, strict=True):
        ours = curve.numpy()
        # tckgen adds up steps in single precision: 1e-5 to 1e-4 mm after some hundred
        assert min(np.abs(ours - other).max(), np.abs(ours[::-1] - other).max()) < 3e-4


@needs_mrtrix
@pytest.mark.parametrize("name", SETTINGS)
def test_sd_stream_is_tckgens(name, capsys):
    ours, theirs = SETTINGS[name]
    expected = tckgen("SD_STREAM", "fod.nii.gz", *theirs, per_voxel="2")
    assert main([*TRACK, "-o", "tracks.tck", *ours, "--seeds-per-voxel", "grid", "2"]) == 0
    found = read_tractogram("tracks.tck")
    # where the start is across the fibres there is no peak to climb to
    assert 4 < len(found) < 110
    assert capsys.readouterr().out == f"tracks.tck: streamlines from {len(found)} of 120 seeds\n"
    assert_same_curves(found, expected)


@needs_mrtrix
@pytest.mark.parametrize("name", ["usual", "rk4"])
def test_tensor_det_is_tckgens(name):
    ours, theirs = SETTINGS[name]
    expected = tckgen("Tensor_Det", "dwi.nii.gz", "-grad", "grad.b", *theirs)
    assert main([*TENSOR, "-o", "tracks.tck", *ours]) == 0
    assert_same_curves(read_tractogram("tracks.tck"), expected)


@needs_mrtrix
def test_mrtrix_reads_the_header():
    assert main([*TRACK, "-o", "tracks.tck", "--angle", "45"]) == 0
    told = subprocess.run(["tckinfo", "tracks.tck", "-count"], check=True, capture_output=True, text=True)
    # 0.1 voxels, a voxel being the cube root of 2 × 2 × 2.5 mm³
    words = ("step_size:            0.215443", "method:               SDStream", "max_angle:            45")
    for word in (*words, f"actual count in file: {len(read_tractogram('tracks.tck'))}"):
        assert word in told.stdout
    subprocess.run(["tckmap", "-template", "fod.nii.gz", "tracks.tck", "map.nii", "-quiet"], check=True)


@pytest.mark.parametrize(
    ("command", "most"),
    [
        # directions are 9° apart, and half a circle of 2.5 voxels is 8 long: 8 sin(4.5°) = 0.6 at worst
        ((*TRACK, "--algorithm", "maximum_direction"), 0.6),
        # unit vectors along a circle of radius r ≥ 1, interpolated between voxels, are off by up to 1/(4r²),
        # to the other side every eighth of the circle, by symmetry: π/(16r) < 0.2 voxels
        (EUDX, 0.2),
    ],
)
def test_dipys_algorithms_turn_in_circles(command, most, capsys):
    options = ("--mask", "left.nii.gz", "--angle", "30", "--method", "rk4", "--step", "0.5")
    assert main([*command, *options, "-o", "tracks.trk"]) == 0
    found = read_tractogram("tracks.trk")
    assert capsys.readouterr().out == f"tracks.trk: streamlines from {len(found)} of 15 seeds\n"
    voxels = np.linalg.solve(AFFINE[:3, :3], (found.points.numpy() - AFFINE[:3, 3]).T).T
    assert len(found) >= 4
    assert voxels[:, 0].max() <= 3.5
    radii = np.hypot(*(voxels - CENTRE)[:, :2].T)
    spread = [np.ptp(part) for part in np.split(radii, found.offsets[1:-1].numpy())]
    assert max(spread) < most


@pytest.mark.parametrize("options", [{}, {"power": 3.0}, {"random_seed": 1}, {"angle": 30.0, "cutoff": 0.3}])
def test_ifod1_draws_what_the_library_draws(options, capsys):
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main([*TRACK, "--algorithm", "ifod1", "--include", "low.nii.gz", *words, "-o", "tracks.tck"]) == 0
    options = {"power": 1.0} | options
    algorithm = IFOD1(options.pop("power"))
    coefficients, grid = read_harmonics("fod.nii.gz")
    region = read_region("seeds.nii.gz")
    expected = sample_streamlines(
        SHField(coefficients, grid.affine),
        grid_seeds(region.image, region.grid, 1),
        directions=torch.tensor([-0.3, 0.8, 0.2], dtype=torch.float64),
        include=[read_region("low.nii.gz")],
        algorithm=algorithm,
        **options,
    )
    found = read_tractogram("tracks.tck")
    assert 1 < len(found) < 15
    assert torch.equal(found.offsets, expected.offsets)
    assert torch.equal(found.points, expected.points.float().double())  # the file is float32
    assert b"method: iFOD1" in Path("tracks.tck").read_bytes()


def test_a_report_is_one_page(folder, capsys):
    assert main([*TRACK, "-o", "tracks.tck", "--report", "page.html"]) == 0
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert f"streamlines <b>{len(read_tractogram('tracks.tck'))}</b>" in page
    assert '<th scope="row">step_size</th><td>0.215443</td>' in page


def test_random_seeds_follow_the_number():
    points = []
    for seed in ("1", "1", "2"):
        per_voxel = ("--seeds-per-voxel", "random", "2", "--random-seed", seed)
        assert main(["track", "fod.nii.gz", "--seeds", "seeds.nii.gz", *per_voxel, "-o", "t.tck"]) == 0
        points.append(Path("t.tck").read_bytes())
    assert points[0] == points[1] != points[2]


def swapped(argv, old, new):
    return tuple(new if word == old else word for word in argv)


CONNECTOME = ("connectome", "cut.tck", "labels.nii.gz")
FOD = ("fod", "dwi.nii.gz", "--response", "response.txt", "--grad", "grad.b")
FSL = ("--bvals", "dwi.bval", "--bvecs", "dwi.bvec")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        # gradients that do not fit each other or the image
        ((*TENSOR[:-2], *FSL), ("dwi.bvec: 3 directions; expected 2, as in dwi.bval",)),
        ((*FOD[:-2], *FSL), ("dwi.bvec: 3 directions; expected 2, as in dwi.bval",)),
        (swapped(TENSOR, "grad.b", "short.b"), ("dwi.nii.gz: 2 b-values", "22 volumes")),
        (TENSOR[:-2], ("gradients: expected --bvals and --bvecs, or --grad",)),
        ((*TRACK, *TENSOR[-2:]), ("gradients are given; sd_stream follows distributions",)),
        # images without a place, of other dimensions, of no harmonics
        (swapped(TRACK, "fod.nii.gz", "nowhere.nii"), ("nowhere.nii: has no affine",)),
        (swapped(FOD, "dwi.nii.gz", "nowhere.nii"), ("nowhere.nii: has no affine",)),
        (("connectome", "good.tck", "nowhere3.nii"), ("nowhere3.nii: has no affine",)),
        (swapped(TRACK, "seeds.nii.gz", "nowhere3.nii"), ("nowhere3.nii: has no affine",)),
        (swapped(TRACK, "fod.nii.gz", "seeds.nii.gz"), ("seeds.nii.gz: has 3 dimensions", "expected 4")),
        (swapped(TENSOR, "dwi.nii.gz", "seeds.nii.gz"), ("seeds.nii.gz: has 3 dimensions", "expected 4")),
        (swapped(FOD, "dwi.nii.gz", "seeds.nii.gz"), ("seeds.nii.gz: has 3 dimensions", "expected 4")),
        (("connectome", "good.tck", "fod.nii.gz"), ("fod.nii.gz: has 4 dimensions", "expected 3")),
        ((*TRACK, "--mask", "fod.nii.gz"), ("fod.nii.gz: has 4 dimensions", "expected 3")),
        (swapped(TRACK, "fod.nii.gz", "dwi.nii.gz"), ("dwi.nii.gz: ", "22", "even")),
        (swapped(TRACK, "fod.nii.gz", "missing.nii"), ("missing.nii: no such file",)),
        (swapped(TRACK, "fod.nii.gz", "cut.nii.gz"), ("cut.nii.gz: is cut short",)),
        (swapped(TRACK, "fod.nii.gz", "nan.nii.gz"), ("nan.nii.gz: coefficients hold a value",)),
        # seeds
        (
            swapped(TRACK, "seeds.nii.gz", "far.txt"),
            ("far.txt: seed 1 at (300, 0, 0) mm is outside the image", "1 of 2"),
        ),
        (swapped(TRACK, "seeds.nii.gz", "no.nii.gz"), ("no.nii.gz: is zero everywhere",)),
        (swapped(TRACK, "seeds.nii.gz", "short.b"), ("short.b: line 1: 4 values; expected 3",)),
        (swapped(TRACK, "seeds.nii.gz", "no.txt"), ("no.txt: no such file",)),
        ((*TRACK, "--seeds-per-voxel", "grid", "0"), ("number of seeds is 0",)),
        ((*TRACK, "--seeds-per-voxel", "mesh", "1"), ("--seeds-per-voxel", "mesh")),
        (
            (*swapped(TRACK, "seeds.nii.gz", "near.txt"), "--seeds-per-voxel", "grid", "2"),
            ("near.txt holds points",),
        ),
        ((*TRACK[:-1], "1,0"), ("seed_direction is '1,0'", "X,Y,Z")),
        ((*TRACK[:-1], "-0,0,0"), ("seed_direction is '-0,0,0'",)),
        # regions and settings
        ((*TRACK, "--mask", "elsewhere.nii.gz"), ("elsewhere.nii.gz: no seed lies in it",)),
        ((*TRACK, "--include", "left.nii.gz", "no.nii.gz"), ("no.nii.gz: is zero everywhere",)),
        ((*TRACK, "--algorithm", "fact"), ("--algorithm", "fact", "sd_stream")),
        ((*TRACK, "--algorithm", "maximum_direction"), ("needs --mask",)),
        ((*TRACK, "--algorithm", "maximum_direction", "--unidirectional"), ("--unidirectional",)),
        (EUDX, ("eudx needs --mask",)),
        ((*EUDX, "--exclude", "far.nii.gz"), ("eudx has no",)),
        ((*TRACK, "--algorithm", "eudx"), ("expected --bvals and --bvecs, or --grad",)),
        ((*TRACK, "--algorithm", "ifod1", *TENSOR[-2:]), ("gradients are given; ifod1 follows",)),
        ((*TRACK, "--algorithm", "ifod1", "--method", "rk4"), ("method is rk4; ifod1",)),
        ((*TRACK, "--algorithm", "ifod1", "--power", "0"), ("power is 0",)),
        ((*TRACK, "--power", "2"), ("power is 2; sd_stream draws nothing",)),
        (
            (*TRACK, "--algorithm", "maximum_direction", "--mask", "elsewhere.nii.gz"),
            ("elsewhere.nii.gz: lies on another grid",),
        ),
        ((*TRACK, "--random-seed", "-1"), ("--random-seed", "-1")),
        ((*TRACK, "--step", "0"), ("step is 0",)),
        ((*TRACK, "--angle", "120"), ("angle is 120",)),
        ((*TRACK, "--cutoff", "-1"), ("cutoff is -1",)),
        ((*TRACK, "--min-length", "30", "--max-length", "20"), ("min_length 30 and max_length 20",)),
        # tractograms and labels
        (CONNECTOME, ("cut.tck: ends at byte", "cut short")),
        (("connectome", "good.tck", "elsewhere.nii.gz"), ("good.tck: no streamline meets the label image",)),
        ((*TRACK, "-o", "tracks.vtk"), ("tracks.vtk: unknown kind", ".tck")),
        ((*TRACK, "--report", "tracks.txt"), ("tracks.txt: unknown kind", ".html")),
        ((*TRACK, "-o", "no/tracks.tck"), ("no/tracks.tck", "no folder")),
        ((*swapped(TRACK, "seeds.nii.gz", "good.tck"), "-o", "good.tck"), ("good.tck: is an input",)),
    ],
)
def test_bad_input_is_one_line(folder, capsys, argv, words):
    write_bad_files(folder)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    output = {"track": "out.tck", "fod": "out.nii.gz", "connectome": "out.csv"}[argv[0]]
    assert main([*argv, *(() if "-o" in argv else ("-o", output))]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("torrey: error: ")
    for word in words:
        assert word in err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def write_bad_files(folder):
    (folder / "dwi.bval").write_text("0 1000\n")
    (folder / "dwi.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    (folder / "short.b").write_text("0 0 0 0\n1 0 0 2000\n")
    (folder / "response.txt").write_text("800 -300 80 -15\n")
    near = AFFINE[:3, :3] @ CENTRE + AFFINE[:3, 3]
    (folder / "near.txt").write_text(" ".join(map(str, near)))
    (folder / "far.txt").write_text(f"{' '.join(map(str, near))}\n300 0 0\n")
    fod = nibabel.load(folder / "fod.nii.gz").get_fdata(dtype=np.float32)
    for name, values in {"nowhere.nii": fod, "nowhere3.nii": fod[..., 0]}.items():
        nibabel.save(nibabel.Nifti1Image(values, None), folder / name)
    fod[1, 2, 3, 4] = np.nan
    save(folder / "nan.nii.gz", fod)
    content = (folder / "fod.nii.gz").read_bytes()
    (folder / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    far = AFFINE.copy()
    far[:3, 3] += 200
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), far), folder / "elsewhere.nii.gz")
    curves = [np.array([near, near + 1], np.float32)] * 3
    TckFile(nibabel.streamlines.Tractogram(curves, affine_to_rasmm=np.eye(4))).save(folder / "good.tck")
    (folder / "cut.tck").write_bytes((folder / "good.tck").read_bytes()[:-20])

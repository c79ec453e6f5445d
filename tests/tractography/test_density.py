"""Track density against `tckmap`, straight lines whose lengths are known, and differences."""

import math
import os
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from torrey.errors import InputError
from torrey.tractography import Grid, Streamlines
from torrey.tractography.density import track_counts, track_density, track_lengths
from torrey.tractography.files import read_tractogram, write_tractogram

SHAPE = (9, 10, 8)


def tilted_grid():
    u, _, v = np.linalg.svd([[-0.98, -0.14, 0.1], [0.13, 0.985, 0.1], [-0.11, -0.09, 0.99]])
    affine = np.eye(4)
    affine[:3, :3] = (u @ v) * [1.9, 1.75, 2.4]
    affine[:3, 3] = [4, -60, -30]
    return Grid(SHAPE, torch.tensor(affine))


def plain_grid(edge=2.0):
    affine = torch.diag(torch.tensor([edge, edge, edge, 1], dtype=torch.float64))
    return Grid(SHAPE, affine)


def helices(grid, n, step, seed=0):
    """Return smooth curves with points about `step` mm apart, some of which leave the image."""
    generator = torch.Generator().manual_seed(seed)
    curves = []
    for _ in range(n):
        radius, pitch, phase, x, y, z = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
        radius, pitch = 2 + 4 * radius, 0.3 + pitch
        angle = 6 * phase + torch.arange(0, 25, step, dtype=torch.float64) / math.hypot(radius, pitch)
        curve = torch.stack([radius * angle.cos(), radius * angle.sin(), pitch * angle], 1)
        centre = torch.tensor([8 * x, 9 * y, 7 * z], dtype=torch.float64)
        curves.append((grid.to_world(centre) + curve).float().double())
    return Streamlines.from_list(curves)


def line(*points):
    return Streamlines.from_list([torch.tensor(points, dtype=torch.float64)])


@pytest.mark.skipif(shutil.which("tckmap") is None, reason="MRtrix is not installed")
@pytest.mark.parametrize("step", [0.15, 0.9])  # the first needs no points between, the second does
@pytest.mark.parametrize("weighted", [False, True])
def test_equal_to_tckmap(tmp_path, step, weighted):
    grid = tilted_grid()
    tracks = helices(grid, 60, step)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    write_tractogram(tmp_path / "tracks.tck", tracks, fields={"step_size": step})
    empty = nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), grid.affine.numpy())
    nibabel.save(empty, tmp_path / "template.nii")
    (tmp_path / "weights.txt").write_text(" ".join(map(repr, weights.tolist())))
    options = " -tck_weights_in weights.txt" if weighted else ""

    def tckmap(more):
        command = f"tckmap -quiet -nthreads 0 -force tracks.tck out.nii -template template.nii{options}{more}"
        subprocess.run(command.split(), cwd=tmp_path, check=True)
        return nibabel.load(tmp_path / "out.nii").get_fdata()

    ours = weights if weighted else None
    # weights are float32 there
    counts = track_counts(tracks, grid, step=step, weights=ours)
    np.testing.assert_allclose(counts, tckmap(""), rtol=1e-6)
    apart = abs(track_lengths(tracks, grid, step=step, weights=ours).numpy() - tckmap(" -precise"))
    # float32 decides on which side of a face a point of the bisection falls, for one crossing in thousands,
    # and moves up to the 0.005 · 1.75 mm that it stops at from one voxel to the next
    assert apart.max() < 0.01
    assert np.quantile(apart, 0.98) < 2e-5


@pytest.mark.skipif("TORREY_REFERENCE" not in os.environ, reason="TORREY_REFERENCE names no folder")
def test_equal_to_tckmap_on_a_phantom():
    folder = Path(os.environ["TORREY_REFERENCE"]) / "connectome"
    tracks = read_tractogram(folder / "fibercup_sdstream_allwm.tck")
    image = nibabel.load(folder / "fibercup_tdi_precise.nii.gz")
    grid = Grid(image.shape, torch.tensor(image.affine))
    # MRtrix sums up to 265 mm in a voxel in float32
    lengths = track_lengths(tracks, grid, step=0.3)
    np.testing.assert_allclose(lengths, image.get_fdata(), rtol=0, atol=2e-4)


def test_a_straight_line_has_its_chords():
    # from the centre of voxel 1 to that of voxel 5 along x, shifted by 0.3 voxel in y: half, whole, …, half
    grid = plain_grid()
    tracks = line(*[(2 + 0.5 * i, 6.6, 8) for i in range(17)])
    expected = torch.zeros(SHAPE, dtype=torch.float64)
    expected[1:6, 3, 4] = torch.tensor([1.0, 2, 2, 2, 1], dtype=torch.float64)
    # where it crosses is bisected to 0.005 of a voxel of 2 mm
    np.testing.assert_allclose(track_lengths(tracks, grid), expected, atol=0.01)
    assert torch.equal(track_counts(tracks, grid), (expected > 0).double())
    expected[1:6, 4, 4] = 0.3 * expected[1:6, 3, 4]
    expected[1:6, 3, 4] *= 0.7
    # along x the trilinear weights are 1 − |x|, straight between points, which the midpoint rule has exactly
    np.testing.assert_allclose(track_density(tracks, grid), expected, atol=1e-12)


def test_one_step_over_many_voxels_is_cut():
    tracks = line((2, 6, 8), (10, 6, 8))
    lengths = track_lengths(tracks, plain_grid())
    np.testing.assert_allclose(lengths[1:6, 3, 4], [1, 2, 2, 2, 1], atol=0.02)  # two ends of 0.005 voxel
    assert float(lengths.sum()) == pytest.approx(8, abs=1e-6)  # float32
    assert float(track_counts(tracks, plain_grid()).sum()) == 2
    assert float(track_counts(tracks, plain_grid(), step=8.0).sum()) == 5


def test_a_streamline_counts_once_in_a_voxel_it_comes_back_to():
    tracks = line((2, 6, 8), (4, 6, 8), (2, 6, 8))
    counts = track_counts(tracks, plain_grid())
    assert counts[1, 3, 4] == counts[2, 3, 4] == counts.sum() / 2 == 1


def test_what_is_outside_the_image_is_left_out():
    tracks = line(*[(-3 + 0.1 * i, 6, 8) for i in range(41)])  # −3 … 1 mm; the image begins at −1
    assert float(track_lengths(tracks, plain_grid()).sum()) == pytest.approx(2, abs=0.01)
    density = track_density(tracks, plain_grid())
    # 20 pieces lie inside; those within half a voxel of the face go to the outermost voxel whole
    assert float(density.sum()) == pytest.approx(2, abs=1e-12)
    # from the centre of voxel 0 to the next face: 1 mm with weights 1 … 1/2
    assert float(density[0, 3, 4]) == pytest.approx(1 + 0.75, abs=1e-12)


def test_no_points_make_no_density():
    tracks = Streamlines.from_list([torch.zeros(0, 3).double(), torch.zeros(1, 3).double()])
    grid = plain_grid()
    assert float(track_counts(tracks, grid, step=5.0).sum()) == 1
    assert float(track_lengths(tracks, grid, step=5.0).sum()) == float(track_density(tracks, grid).sum()) == 0
    assert float(track_counts(Streamlines.from_list([]), grid).sum()) == 0


def test_total_density_is_the_length_inside():
    grid = plain_grid(edge=4.0)
    tracks = helices(grid, 10, 0.2)
    inside = Streamlines.from_list([c for c in tracks if bool((grid.voxel_of(c) >= 0).all())])
    assert len(inside) >= 3
    total = float(track_density(inside, grid).sum())
    assert total == pytest.approx(float(inside.lengths.sum()), rel=1e-12)  # weights sum to one


def test_pieces_converge_at_second_order():
    tracks = line((3.1, 4.3, 5.2), (13.7, 12.9, 9.1), (5, 14, 11))
    images = [track_density(tracks, plain_grid(), pieces=pieces) for pieces in (8, 16, 512)]
    coarse, fine = ((image - images[2]).norm() for image in images[:2])
    assert 3 < float(coarse / fine) < 5.5  # 4, but for where the kinks of the weights fall


def test_gradient_is_that_of_differences():
    grid = tilted_grid()
    tracks = Streamlines.from_list([curve[:6] for curve in helices(grid, 3, 1.3)])
    points = tracks.points.clone().requires_grad_()
    weights = torch.tensor([0.5, 1.5, 1], dtype=torch.float64, requires_grad=True)
    factors = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(points, weights):
        curves = Streamlines(points, tracks.offsets)
        return (factors * track_density(curves, grid, pieces=2, weights=weights)).sum()

    assert torch.autograd.gradcheck(value, (points, weights))


def test_wrong_options_are_told():
    tracks, grid = line((2, 6, 8), (10, 6, 8)), plain_grid()
    with pytest.raises(InputError, match="step is 0 mm"):
        track_counts(tracks, grid, step=0.0)
    with pytest.raises(InputError, match=r"weights have shape \(2,\); expected \(1,\)"):
        track_lengths(tracks, grid, weights=torch.ones(2))
    with pytest.raises(InputError, match="pieces is 0"):
        track_density(tracks, grid, pieces=0)

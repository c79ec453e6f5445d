"""Seeds against those that `tckgen` writes, and the shape of random ones."""

import re
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from torrey.errors import FileError, InputError
from torrey.tractography import Grid
from torrey.tractography.seeds import (
    grid_seeds,
    random_seeds,
    random_seeds_per_voxel,
    read_seeds,
    require_inside,
)

SHAPE = (5, 6, 7)
# rotations by a few degrees of axes that run right, forward, up; left, forward, up; and down, left, forward
TILT = np.array([[0.98, -0.14, 0.1], [0.13, 0.985, 0.1], [-0.11, -0.09, 0.99]])
FRAMES = {
    "RAS": np.eye(3),
    "LAS": np.diag([-1.0, 1, 1]),
    "IPR": np.array([[0, 0, 1.0], [0, -1, 0], [-1, 0, 0]]),
    "ALI": np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, -1]]),
}


def grid_of(frame):
    u, _, v = np.linalg.svd(TILT @ frame)
    affine = np.eye(4)
    affine[:3, :3] = (u @ v) * [1.9, 1.75, 2.4]
    affine[:3, 3] = [40, -60, -30]
    return Grid(SHAPE, torch.tensor(affine))


def some_voxels():
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)) < 0.1


@pytest.mark.skipif(shutil.which("tckgen") is None, reason="MRtrix is not installed")
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("n", [1, 3])
def test_grid_seeds_are_tckgens_in_its_order(tmp_path, frame, n):
    grid, mask = grid_of(frame), some_voxels()
    if frame is FRAMES["RAS"]:
        assert bool(mask[0, 0, 0])  # MRtrix never seeds the first voxel
        mask[0, 0, 0] = False
    affine = grid.affine.numpy()
    nibabel.save(nibabel.Nifti1Image(mask.numpy().astype(np.uint8), affine), tmp_path / "mask.nii")
    # a field that is the same in all directions accepts every seed
    field = np.zeros((*SHAPE, 6), np.float32)
    field[..., 0] = 1
    nibabel.save(nibabel.Nifti1Image(field, affine), tmp_path / "field.nii")
    command = f"tckgen -quiet -nthreads 0 -algorithm SD_STREAM -seed_grid_per_voxel mask.nii {n} -select 0 "
    command += "-minlength 0 -cutoff 1e-4 -output_seeds seeds.txt field.nii tracks.tck"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    theirs = read_seeds(tmp_path / "seeds.txt")
    assert len(theirs) == int(mask.sum()) * n**3
    # float32 of numbers below 100, whose affine NIfTI holds in float32 too
    np.testing.assert_allclose(grid_seeds(mask, grid, n), theirs, rtol=0, atol=3e-5)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_random_seeds_fill_each_voxel_evenly(frame):
    grid, mask = grid_of(frame), some_voxels()
    seeds = random_seeds_per_voxel(mask, grid, 500, generator=torch.Generator().manual_seed(1))
    voxels = grid.voxel_of(seeds)
    first = grid.voxel_of(grid_seeds(mask, grid, 1))
    assert torch.equal(voxels, first.repeat_interleave(500))
    within = grid.to_voxels(seeds) - grid.to_voxels(seeds).round()
    # mean and variance of a uniform distribution, to four standard errors of this many draws
    n = len(seeds)
    assert within.mean(0).abs().max() < 4 * (1 / 12 / n) ** 0.5
    assert (within.var(0) - 1 / 12).abs().max() < 4 * (1 / 180 / n) ** 0.5


def test_random_seeds_in_a_mask_fall_on_voxels_evenly():
    grid, mask = grid_of(FRAMES["IPR"]), some_voxels()
    n_voxels, n = int(mask.sum()), 20_000
    seeds = random_seeds(mask, grid, n, generator=torch.Generator().manual_seed(1))
    counts = grid.voxel_of(seeds).bincount(minlength=grid.n_voxels).reshape(SHAPE)
    assert (counts[~mask] == 0).all()
    chi2 = float(((counts[mask] - n / n_voxels) ** 2).sum() / (n / n_voxels))
    # χ² has mean k and variance 2k for k degrees of freedom; four standard deviations
    assert abs(chi2 - (n_voxels - 1)) < 4 * (2 * (n_voxels - 1)) ** 0.5
    again = random_seeds(mask, grid, n, generator=torch.Generator().manual_seed(1))
    assert torch.equal(seeds, again)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("spaces.txt", "# mm\n1 2 3\n\n-4.5\t5e0   6\n"),
        ("commas.csv", "\ufeff1,2,3\n-4.5, 5, 6,\n"),
        ("mrtrix.txt", "# tckgen …\n#Track_index,Seed_index,Pos_x,Pos_y,Pos_z,\n0,4,1,2,3,\n1,9,-4.5,5,6,\n"),
    ],
)
def test_layouts_of_text(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_seeds(tmp_path / name).tolist() == [[1, 2, 3], [-4.5, 5, 6]]


def test_the_example_of_the_manual(tmp_path):
    manual = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\n(# x y z, mm\n.*?)^```$", manual, re.DOTALL | re.MULTILINE)
    (tmp_path / "seeds.txt").write_text(example)
    assert read_seeds(tmp_path / "seeds.txt").tolist() == [[-12.5, 30.25, 8], [-12.5, 32, 8]]


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3]], np.float32))
    assert read_seeds(tmp_path / "a.npy").tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n\n4 5\n", "line 3: 2 values; expected 3"),
        ("#Track_index,Seed_index,Pos_x,Pos_y,Pos_z,\n1,2,3\n", "line 2: 3 values; expected 5"),
        ("x,y,z\n", "line 1: 'x,y,z'; expected numbers"),
        ("1 2 inf\n", "line 1: '1 2 inf'; expected finite"),
        ("# nothing\n", "holds no seeds"),
        ("", "holds no seeds"),
    ],
)
def test_wrong_text_is_told(tmp_path, text, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(FileError, match=f"a.txt: {message}"):
        read_seeds(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2)), r"shape \(3, 2\), float64"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.array([[0, np.nan, 0]]), "seed 0 is"),
        (np.array([["a", "b", "c"]]), "<U1; expected numbers"),
        (np.array([[None, 1, 2]]), "expected an array of numbers"),
    ],
)
def test_wrong_arrays_are_told(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(FileError, match=f"a.npy: .*{message}"):
        read_seeds(tmp_path / "a.npy")


def test_other_mistakes_are_told(tmp_path):
    grid = grid_of(FRAMES["LAS"])
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FileError, match=r"binary.txt: expected text"):
        read_seeds(tmp_path / "binary.txt")
    with pytest.raises(FileError, match=r"none.txt: no such file"):
        read_seeds(tmp_path / "none.txt")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(FileError, match="expected an array"):
        read_seeds(tmp_path / "cut.npy")
    with pytest.raises(InputError, match="no voxel that is not zero"):
        grid_seeds(torch.zeros(SHAPE), grid, 1)
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\); expected \(5, 6, 7\)"):
        grid_seeds(torch.ones(2, 2, 2), grid, 1)
    with pytest.raises(InputError, match="number of seeds is 0"):
        grid_seeds(some_voxels(), grid, 0)


def test_seeds_outside_the_image_are_told():
    grid = grid_of(FRAMES["LAS"])
    voxels = torch.tensor([[0.0, 0, 0], [4.4, 5.4, 6.4], [4.6, 0, 0], [0, -0.6, 0]], dtype=torch.float64)
    require_inside(grid.to_world(voxels[:2]), grid)
    with pytest.raises(InputError, match=r"seed 2 at .* mm .*, in voxel 4.6 0.0 0.0 of 5×6×7, as 2 of 4 are"):
        require_inside(grid.to_world(voxels), grid)

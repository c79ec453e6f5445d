"""Drawn streamlines: random numbers, the law of directions, limits, and MRtrix's streamlines beside them."""

import math
import os
import shutil
import subprocess

import nibabel
import numpy as np
import pytest
import torch
from fields_of_known_flow import DATA, affine_of, ptt_fod
from scipy import stats

from torrey.errors import InputError
from torrey.tractography import (
    IFOD1,
    Region,
    SHField,
    Streamlines,
    harmonics,
    random_seeds,
    sample_streamlines,
)
from torrey.tractography.interpolation import interpolate
from torrey.tractography.propagation.compiled import cone_of
from torrey.tractography.propagation.compiled.philox import philox

VOXEL = (6, 2, 4)
"""Of the synthetic image; the peak is along (0.91, 0, 0.40) and 0.86 high."""

AXIS = torch.tensor([0.95, 0.15, 0.25], dtype=torch.float64)
"""Some 12° aside."""


def constant_field():
    """The distribution of one voxel everywhere, so that nothing depends on the position."""
    coefficients, _ = ptt_fod()
    return SHField(coefficients[VOXEL].expand(9, 9, 9, -1).clone(), affine_of(2.0))


def bundle():
    coefficients, affine = ptt_fod()
    field = SHField(coefficients, affine)
    white = coefficients[..., 0] > 0.1
    seeds = random_seeds(white, field.grid, 300, generator=torch.Generator().manual_seed(2))
    return field, seeds


def test_random_numbers_are_philox():
    # the known answers that come with Random123: zeros, ones, and the digits of π
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    assert philox(*[0] * 6) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert philox(*[0xFFFFFFFF] * 6) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert philox(*pi) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)


@pytest.mark.parametrize(("power", "cutoff", "angle"), [(1.0, 0.02, 15.0), (2.0, 0.3, 45.0)])
def test_directions_follow_the_distribution_within_the_cone(power, cutoff, angle):
    n = 40_000
    field = constant_field()
    axis = AXIS / AXIS.norm()
    drawn = sample_streamlines(
        field,
        torch.full((n, 3), 8.0, dtype=torch.float64),
        algorithm=IFOD1(power=power),
        directions=axis,
        angle=angle,
        cutoff=cutoff,
        min_length=0,
        max_length=0,
        unidirectional=True,
    )
    assert len(drawn) == n
    first = drawn.points[drawn.offsets[:-1] + 1] - 8.0
    first = first / first.norm(dim=1, keepdim=True)

    # rings of equal area times sectors, each integrated by the midpoints of 20 × 20 cells
    rings, sectors, fine = 5, 12, 20
    e, f = torch.linalg.svd(axis[None]).Vh[1:]
    lowest = math.cos(math.radians(angle))
    cosine = 1 - (torch.arange(rings * fine) + 0.5) / (rings * fine) * (1 - lowest)
    azimuth = (torch.arange(sectors * fine) + 0.5) / (sectors * fine) * 2 * math.pi
    c, a = (grid[..., None].double() for grid in torch.meshgrid(cosine, azimuth, indexing="ij"))
    nodes = c * axis + (1 - c * c).sqrt() * (a.cos() * e + a.sin() * f)
    amplitude = harmonics(nodes.reshape(-1, 3), 8) @ field.coefficients[0, 0, 0]
    density = torch.where(amplitude >= cutoff, amplitude, torch.zeros_like(amplitude)) ** power
    chances = density.view(rings, fine, sectors, fine).sum((1, 3)).flatten()
    if cutoff == 0.3:
        assert 0.2 < float((density == 0).double().mean()) < 0.9
    chances = chances / chances.sum()

    ring = ((1 - first @ axis) / (1 - lowest) * rings).long().clamp_max(rings - 1)
    sector = torch.remainder(torch.atan2(first @ f, first @ e) / (2 * math.pi), 1) * sectors
    counts = torch.bincount(ring * sectors + sector.long(), minlength=rings * sectors)
    possible = chances * n > 5
    # few lie where the chance is as good as none; the rest follows χ², of which one in 1000 is more unlikely
    assert int(counts[~possible].sum()) <= 5 * int((~possible).sum())
    expected = chances[possible] / chances[possible].sum() * counts[possible].sum()
    assert stats.chisquare(counts[possible].numpy(), expected.numpy()).pvalue > 1e-3


def test_the_bound_holds():
    # over cones about many directions of many voxels, against the largest of a dense set of directions
    field, _ = bundle()
    generator = torch.Generator().manual_seed(0)
    rows = field.coefficients.flatten(0, 2)
    rows = rows[rows[:, 0] > 0.1][:100]
    cone = cone_of(math.radians(15), 8)
    worst = 0.0
    for row in rows:
        axis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator)).Q
        near = torch.randn(3000, 3, dtype=torch.float64, generator=generator)
        near = axis[:, 2] + 0.27 * near / near.norm(dim=1, keepdim=True) * torch.rand(3000, 1).sqrt()
        near = near / near.norm(dim=1, keepdim=True)
        near = near[near @ axis[:, 2] > cone.cosine]
        pattern = torch.from_numpy(cone.pattern).T @ axis.T
        largest, found = ((harmonics(x, 8) @ row).max() for x in (near, pattern))
        if float(largest) > 0.1:
            worst = max(worst, float(largest / (found * cone.margin)))
    assert 0.8 < worst < 1


def test_steps_keep_to_the_cone_and_above_the_cutoff():
    field, seeds = bundle()
    drawn = sample_streamlines(field, seeds, cutoff=0.15, unidirectional=True)
    assert len(drawn) > 100
    for s in range(0, len(drawn), 10):
        points = drawn[s]
        steps = points.diff(dim=0) / 0.2
        cosines = (steps[1:] * steps[:-1]).sum(1)
        assert float(cosines.min()) > math.cos(math.radians(15)) - 1e-9
        rows = interpolate(field.coefficients.flatten(0, 2), field.grid, points[:-1])
        # to rounding of the change to polynomials
        assert float((harmonics(steps, 8) * rows).sum(1).min()) > 0.15 - 1e-9


def test_a_cutoff_above_the_peaks_leaves_no_streamline():
    field, seeds = bundle()
    assert len(sample_streamlines(field, seeds, cutoff=5.0)) == 0


def test_neither_threads_nor_parts_nor_order_change_a_streamline():
    field, seeds = bundle()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        whole = sample_streamlines(field, seeds, random_seed=2**40 + 3)
        torch.set_num_threads(2)
        again = sample_streamlines(field, seeds, random_seed=2**40 + 3)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(whole.points, again.points)
    parts = [
        sample_streamlines(field, seeds[begin:end], random_seed=2**40 + 3, first=begin)
        for begin, end in ((0, 17), (17, 140), (140, 300))
    ]
    assert torch.equal(whole.points, torch.cat([part.points for part in parts]))
    for other in (3, 2**40 + 4):
        assert not torch.equal(
            whole.points[:100], sample_streamlines(field, seeds, random_seed=other).points[:100]
        )


def test_masks_end_streamlines_and_excluded_regions_reject_them():
    field, seeds = bundle()
    left = torch.zeros(field.grid.shape)
    left[:8] = 1
    region = Region(left, field.affine)
    within = sample_streamlines(field, seeds, mask=region)
    assert len(within) > 20
    assert bool(region.contains(within.points).all())
    outside = sample_streamlines(field, seeds, exclude=[region])
    assert not bool(region.contains(outside.points).any())
    through = sample_streamlines(field, seeds, include=[region])
    assert len(through) + len(outside) == len(sample_streamlines(field, seeds))


def test_seeds_and_step_carry_gradients_at_fixed_directions():
    # where the field is constant directions depend on neither, so differences are exact but for rounding
    field = constant_field()
    seeds = torch.tensor([[8.0, 8.0, 8.0], [7.0, 8.5, 8.2]], dtype=torch.float64)

    def weighted(seeds, step):
        drawn = sample_streamlines(field, seeds, step=step, min_length=0, max_length=2.0, angle=30)
        weights = torch.linspace(-1, 2, drawn.points.numel(), dtype=torch.float64).view_as(drawn.points)
        return (weights * drawn.points**2).sum()

    # 0.21 divides 2 mm with a rest, so that a small change leaves the number of points as it is
    step = torch.tensor(0.21, dtype=torch.float64)
    assert torch.autograd.gradcheck(weighted, (seeds.requires_grad_(), step.requires_grad_()), rtol=1e-6)


def test_what_cannot_be_drawn_from_is_told():
    field, seeds = bundle()
    learned = SHField(field.coefficients.clone().requires_grad_(), field.affine)
    with pytest.raises(InputError, match=r"field carries gradients.*SDStream, or survival"):
        sample_streamlines(learned, seeds)
    with pytest.raises(InputError, match="random_seed is -1; expected an integer from 0 to"):
        sample_streamlines(field, seeds, random_seed=-1)
    with pytest.raises(InputError, match="first is -2; expected"):
        sample_streamlines(field, seeds, first=-2)
    with pytest.raises(InputError, match="power is 0; expected a number above 0"):
        IFOD1(power=0.0)
    with pytest.raises(InputError, match="trials is 0; expected 1 or more"):
        IFOD1(trials=0)
    with pytest.raises(InputError, match="angle is 95; expected degrees"):
        sample_streamlines(field, seeds, angle=95.0)


@pytest.mark.skipif(shutil.which("tckgen") is None, reason="needs MRtrix")
def test_streamlines_are_distributed_as_mrtrix_s(tmp_path):
    n = 3000
    coefficients, affine = ptt_fod()
    field = SHField(coefficients, affine)
    white = coefficients[..., 0] > 0.1
    nibabel.save(nibabel.Nifti1Image(white.numpy().astype(np.float32), affine.numpy()), tmp_path / "mask.nii")
    command = ["tckgen", "-quiet", "-algorithm", "iFOD1", "-nthreads", "0", "-seeds", str(n), "-select", "0"]
    command += ["-seed_image", tmp_path / "mask.nii", DATA / "ptt_fod.nii", tmp_path / "tracks.tck"]
    subprocess.run(command, check=True, env=os.environ | {"MRTRIX_RNG_SEED": "3"})
    loaded = nibabel.streamlines.load(tmp_path / "tracks.tck").streamlines
    theirs = Streamlines.from_list([torch.from_numpy(np.array(track, dtype=np.float64)) for track in loaded])
    seeds = random_seeds(white, field.grid, n, generator=torch.Generator().manual_seed(3))
    ours = sample_streamlines(field, seeds, random_seed=3)

    def z_scores(first, second, n_first, n_second):
        pooled = (first + second) / (n_first + n_second)
        spread = (pooled * (1 - pooled) * (1 / n_first + 1 / n_second)).sqrt()
        return (first / n_first - second / n_second) / spread

    kept = z_scores(torch.tensor(float(len(ours))), torch.tensor(float(len(theirs))), n, n)
    assert abs(float(kept)) < 3.3  # one in 1000 is farther from 0, both seeds being fixed
    assert stats.ks_2samp(ours.n_points, theirs.n_points).pvalue > 1e-3
    counts = [visits(field, streamlines) for streamlines in (ours, theirs)]
    enough = counts[0] + counts[1] >= 40
    z = z_scores(*counts, len(ours), len(theirs))[enough]
    assert len(z) > 200
    # the farthest of some 300 normal numbers is beyond 4.5 once in 500 times; neighbours being alike, the
    # mean square, of mean 1, varies as if there were some 30 of them
    assert float(z.abs().max()) < 4.5
    assert float((z**2).mean()) < 2.0


def visits(field, streamlines):
    """Return how many streamlines visit each voxel (V,)."""
    voxels = field.grid.voxel_of(streamlines.points)
    owners = torch.arange(len(streamlines)).repeat_interleave(streamlines.n_points)
    n_voxels = math.prod(field.grid.shape)
    pairs = (owners * n_voxels + voxels)[voxels >= 0].unique()
    return torch.bincount(pairs % n_voxels, minlength=n_voxels).double()

"""The compiled kernels on straight fibres, where every rule of stopping has a known answer."""

import numpy as np
import pytest
import torch
from compiled_fields import affine, fibres_along, image_of, settings, spread_directions, voxel_centres

from torrey.errors import InputError
from torrey.tractography.polynomial import exponents, first_derivatives, monomials
from torrey.tractography.propagation.compiled import EXCLUDE, INCLUDE, MASK, grow, lay_regions
from torrey.tractography.propagation.compiled.unrolled import second_derivatives, turned_monomials

SHAPE = (9, 7, 5)
ALONG = affine()[:3, 0] / np.linalg.norm(affine()[:3, 0])
"""Fibres lie along the first axis of the voxels, which are 2 mm wide; a step is a quarter of one."""


def straight(amplitude=1.0):
    row = fibres_along(ALONG[None], 8)
    return image_of(amplitude * np.repeat(row, np.prod(SHAPE), 0), SHAPE)


def seed_at(*voxel):
    return (affine()[:3, :3] @ voxel + affine()[:3, 3])[None]


def region(kind, *, first=0, last=9):
    """Return a region of voxels whose first index is from `first` up to `last`."""
    image = np.zeros(SHAPE)
    image[first:last] = 1
    return kind, image, np.linalg.inv(affine())[:3]


def traced(seed, *regions, image=None, towards=ALONG + 0.2, **changes):
    """Return the first voxel coordinate of each point of the only streamline, None if there is none."""
    image = straight() if image is None else image
    grown = grow(image, seed, towards[None], settings(**changes), regions=lay_regions(regions))
    if len(grown.offsets) == 1:
        return None
    np.testing.assert_array_equal(grown.points[grown.seed_rows], seed)
    voxels = (grown.points - affine()[:3, 3]) @ np.linalg.inv(affine()[:3, :3]).T
    np.testing.assert_allclose(voxels[:, 1:], np.broadcast_to([3, 2], (len(voxels), 2)), atol=1e-6)
    return voxels[:, 0]


@pytest.mark.parametrize("rk4", [False, True])
def test_straight_fibres_run_through_the_image(rk4):
    # the step out of the image is only noticed by the next: one point lies outside; Runge–Kutta looks ahead
    last = 8.6 if not rk4 else 8.35
    found = traced(seed_at(4.1, 3, 2), rk4=rk4)
    assert found[0] == pytest.approx(last, abs=1e-6)
    assert found[-1] == pytest.approx(-0.65 if not rk4 else -0.4, abs=1e-6)
    np.testing.assert_allclose(np.diff(found), -0.25, atol=1e-7)


def test_one_side_only():
    found = traced(seed_at(4.1, 3, 2), unidirectional=True)
    assert found[0] == pytest.approx(4.1)
    assert found[-1] == pytest.approx(8.6)


def test_the_cap_counts_both_halves_and_lets_the_second_begin():
    assert len(traced(seed_at(4.1, 3, 2), most_points=10)) == 11
    found = traced(seed_at(7.1, 3, 2), most_points=10)
    assert len(found) == 10
    assert found[0] == pytest.approx(8.6)


def test_short_streamlines_are_dropped():
    n = len(traced(seed_at(4.1, 3, 2)))
    assert traced(seed_at(4.1, 3, 2), least_points=n) is not None
    assert traced(seed_at(4.1, 3, 2), least_points=n + 1) is None


def test_masks_end_streamlines_before_they_leave():
    found = traced(seed_at(4.1, 3, 2), region(MASK, first=3, last=6))
    # voxels 3 to 5 reach from 2.5 to 5.5
    assert found.min() == pytest.approx(2.6)
    assert found.max() == pytest.approx(5.35)
    assert traced(seed_at(1.1, 3, 2), region(MASK, first=3, last=6)) is None
    both = traced(seed_at(4.1, 3, 2), region(MASK, first=3, last=6), region(MASK, first=6, last=8))
    assert both.max() == pytest.approx(7.35)


def test_excluded_and_included_regions():
    seed = seed_at(4.1, 3, 2)
    assert traced(seed, region(EXCLUDE, first=7)) is None
    assert traced(seed, region(EXCLUDE, first=7), region(MASK, last=7)) is not None
    assert traced(seed, region(INCLUDE, last=1), region(INCLUDE, first=8)) is not None
    assert traced(seed, region(INCLUDE, last=1), region(INCLUDE, first=8), unidirectional=True) is None


def test_low_amplitudes_and_empty_voxels_end_streamlines():
    image = straight()
    weak = image.values.reshape(*SHAPE, -1).copy()
    weak[6:] *= 0.05
    # amplitude 1 falls to 0.05 between the centres 5 and 6, and passes 0.5 at 5.526: 5.6 is reached from 5.35
    found = traced(seed_at(4.1, 3, 2), image=image_of(weak.reshape(-1, 45), SHAPE), cutoff=0.5)
    assert found.max() == pytest.approx(5.6)
    weak[6:] = 0
    found = traced(seed_at(4.1, 3, 2), image=image_of(weak.reshape(-1, 45), SHAPE), cutoff=0.0)
    assert found.max() == pytest.approx(5.6)
    assert traced(seed_at(7.1, 3, 2), image=image_of(weak.reshape(-1, 45), SHAPE), cutoff=0.0) is None


def test_sharp_turns_end_streamlines():
    # fibres turn by 40° between the voxels 5 and 6: some 10° a step
    side = affine()[:3, 1] / np.linalg.norm(affine()[:3, 1])
    values = straight().values.reshape(*SHAPE, -1).copy()
    values[6:] = fibres_along((np.cos(0.7) * ALONG + np.sin(0.7) * side)[None], 8)
    image = image_of(values.reshape(-1, 45), SHAPE)
    ends = []
    for angle in (3, 30):
        chosen = settings(cosine=np.cos(np.radians(angle)), unidirectional=True)
        grown = grow(image, seed_at(4.1, 2, 2), ALONG[None], chosen)
        ends.append((grown.points[-1] - grown.points[0]) @ ALONG / 2)
    assert ends[0] < 1.9
    assert ends[1] > 2.5


def test_not_a_number_is_outside():
    values = straight().values.copy()
    values.reshape(*SHAPE, -1)[6:] = np.nan
    assert traced(seed_at(4.1, 3, 2), image=image_of(values, SHAPE)).max() < 6


def test_too_many_regions_are_told():
    with pytest.raises(InputError, match="63 regions to include; expected at most 62"):
        lay_regions([region(INCLUDE)] * 63)


def test_progress_and_no_seed():
    seen = []
    seeds = np.repeat(seed_at(4.1, 3, 2), 50, 0)
    grown = grow(straight(), seeds, np.tile(ALONG, (50, 1)), settings(), progress=seen.append)
    assert seen[-1] == 50
    assert len(grown.offsets) == 51
    empty = grow(straight(), seeds[:0], seeds[:0], settings())
    assert empty.points.shape == (0, 3)


@pytest.mark.parametrize("degree", [2, 4, 6, 8])
def test_unrolled_expressions_are_derivatives(degree):
    n = len(exponents(degree))
    coefficients = torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = spread_directions(1)
    hessian = torch.func.hessian(lambda u: (monomials(u[None], degree) @ coefficients)[0])(x[0])
    found = second_derivatives(coefficients.numpy(), degree, *x[0].tolist())
    expected = [hessian[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose(found, expected, atol=1e-11)
    along, out = torch.tensor([0.3, -0.7, 0.2], dtype=torch.float64), np.empty(n)
    turned_monomials(out, degree, *x[0].tolist(), *along.tolist())
    np.testing.assert_allclose(out, along @ first_derivatives(x, degree)[0], atol=1e-13)


def test_voxel_centres_are_where_the_affine_says():
    assert np.allclose(voxel_centres(SHAPE)[1], seed_at(0, 0, 1)[0])

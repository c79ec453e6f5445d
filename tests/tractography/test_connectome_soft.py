"""Soft assignment against SciPy's nearest neighbours and its closed form, its limit, and differences."""

import math

import numpy as np
import pytest
import torch
from connectome_cases import case
from scipy.spatial import cKDTree
from scipy.special import softmax

from torrey.errors import InputError
from torrey.tractography import Streamlines
from torrey.tractography.connectomics import RadialSearch, connectome, soft_assignment, soft_connectome

SHEARED = torch.tensor(
    [[2.0, 0.9, 0, 3], [0, 1.5, -0.8, 1], [0.3, 0, 2.5, -2], [0, 0, 0, 1]], dtype=torch.float64
)


@pytest.mark.parametrize("sheared", [False, True])
@pytest.mark.parametrize("width", [0.4, 2.0])
def test_probabilities_are_those_of_the_distances_that_scipy_finds(width, sheared):
    tracks, labels, affine = case("oblique", torch.float64)
    ends = tracks.ends
    if sheared:
        ends = (ends - affine[:3, 3]) @ affine[:3, :3].inverse().T @ SHEARED[:3, :3].T + SHEARED[:3, 3]
        affine = SHEARED
    distances = np.full((len(tracks), 2, 9), 3.0)
    for node in range(1, 9):
        centres = torch.nonzero(labels == node).double() @ affine[:3, :3].T + affine[:3, 3]
        distances[..., node] = cKDTree(centres.numpy()).query(ends.numpy())[0]
    expected = softmax(-(distances**2) / (2 * width**2), axis=-1)
    found = soft_assignment(ends, labels, affine, width=width, radius=3.0)
    # nodes less likely than 1e-16 of none are left out, and exponents of 1e3 are rounded
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=2e-16)


def test_a_point_between_two_voxels():
    labels = torch.tensor([[[1, 2]]])
    ends = torch.tensor([[[0.0, 0, 0.25], [0, 0, 0.5]]], dtype=torch.float64)
    found = soft_assignment(ends, labels, torch.eye(4), width=0.5, radius=1.0)
    first = torch.tensor([math.exp(-2), math.exp(-0.125), math.exp(-1.125)], dtype=torch.float64)
    second = torch.tensor([math.exp(-2), math.exp(-0.5), math.exp(-0.5)], dtype=torch.float64)
    torch.testing.assert_close(found[0, 0], first / first.sum(), rtol=1e-14, atol=0)
    torch.testing.assert_close(found[0, 1], second / second.sum(), rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    "options", [{}, {"symmetric": False, "per_node_volume": True, "keep_unassigned": True}]
)
def test_its_limit_is_the_radial_search(options):
    tracks, labels, affine = case("oblique", torch.float64)
    weights = torch.rand(len(tracks), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    hard = connectome(tracks, labels, affine, assignment=RadialSearch(4.0), weights=weights, **options)
    errors = [
        float(
            (soft_connectome(tracks, labels, affine, width=w, weights=weights, **options) - hard).abs().max()
        )
        for w in (1.0, 0.3, 0.1, 1e-4)
    ]
    assert hard.diagonal().max() > 0
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2 * float(hard.max())
    # no end of these is nearer than 1e-6 mm² to a tie, and e^(−1e-6/2e-8) is 2e-22
    assert errors[-1] < 1e-12


def test_every_streamline_makes_one_edge():
    tracks, labels, affine = case("flipped", torch.float64)
    matrix = soft_connectome(tracks, labels, affine, width=1.0, symmetric=False, keep_unassigned=True)
    # 400 ones, each spread over the matrix: sums of 400 numbers at rounding
    assert float(matrix.sum()) == pytest.approx(len(tracks), rel=1e-12)
    whole = soft_connectome(tracks, labels, affine, width=1.0, keep_unassigned=True)
    torch.testing.assert_close(whole, matrix + matrix.triu(1).T, rtol=1e-13, atol=0)


def test_derivatives_in_points_and_weights():
    tracks, labels, affine = case("oblique", torch.float64)
    tracks = Streamlines.from_list(list(tracks.ends[:6]))
    pull = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = torch.linspace(0.5, 2.0, len(tracks), dtype=torch.float64, requires_grad=True)

    def edges(points, weights):
        moved = Streamlines(points, tracks.offsets)
        matrix = soft_connectome(moved, labels, affine, width=1.0, weights=weights, keep_unassigned=True)
        return (matrix * pull).sum()

    points = tracks.points.clone().requires_grad_()
    # central differences with step 1e-6: rounding 1e-16/1e-6 and step²; no end is at a kink
    assert torch.autograd.gradcheck(edges, (points, weights), eps=1e-6, atol=1e-8, rtol=1e-6)
    assert float(torch.autograd.grad(edges(points, weights), points)[0].abs().max()) > 1e-2


def test_precision_follows_the_points():
    tracks, labels, affine = case("oblique")
    single = soft_assignment(tracks.ends, labels, affine, width=1.0)
    double = soft_assignment(tracks.ends.double(), labels, affine, width=1.0)
    assert single.dtype == torch.float32
    # coordinates of 20 mm have 2e-6 mm, which moves an exponent of d²/2, d up to 4, by 1e-5
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{"width": 0.0}, {"width": 1.0, "radius": -1.0}, {"width": math.nan}])
def test_distances_are_positive(options):
    tracks, labels, affine = case("oblique")
    with pytest.raises(InputError, match="expected a positive number of mm"):
        soft_connectome(tracks, labels, affine, **options)


def test_shapes_are_told():
    tracks, labels, affine = case("oblique")
    with pytest.raises(InputError, match=r"points have shape \(400, 3\); expected \(S, 2, 3\)"):
        soft_assignment(tracks.ends[:, 0], labels, affine, width=1.0)
    with pytest.raises(InputError, match=r"weights have shape \(2,\); expected \(400,\)"):
        soft_connectome(tracks, labels, affine, width=1.0, weights=torch.ones(2))

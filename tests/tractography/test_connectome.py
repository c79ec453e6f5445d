"""Hard connectomes against MRtrix's `tck2connectome` and DIPY, derivatives against differences, errors."""

import math

import numpy as np
import pytest
import torch
from connectome_cases import case, oracle

from torrey.errors import InputError
from torrey.tractography import Streamlines
from torrey.tractography.connectomics import (
    EndVoxels,
    ForwardSearch,
    KnownNodes,
    RadialSearch,
    ReverseSearch,
    assign_nodes,
    connectome,
    inverse_lengths,
)

ASSIGNMENTS = {
    "end_voxels": EndVoxels(),
    "radial_4": RadialSearch(4.0),
    "radial_7": RadialSearch(7.0),
    "reverse_5": ReverseSearch(5.0),
    "reverse_all": ReverseSearch(),
    "forward_6": ForwardSearch(6.0),
    "forward_12": ForwardSearch(12.0),
}


@pytest.mark.parametrize("name", ["oblique", "flipped"])
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_every_end_has_the_node_that_mrtrix_gives_it(name, assignment):
    nodes = assign_nodes(*case(name), assignment=ASSIGNMENTS[assignment])
    np.testing.assert_array_equal(nodes, oracle()[f"{name}_{assignment}"])


def test_the_oracle_holds_many_ties():
    tracks, labels, affine = case("flipped")
    ends = tracks.ends.double().reshape(-1, 3)
    voxels = labels.nonzero()
    centres = voxels.double() @ affine[:3, :3].T + affine[:3, 3]
    distances = torch.cdist(ends, centres, compute_mode="donot_use_mm_for_euclid_dist")
    near = (distances <= distances.min(1, keepdim=True).values + 1e-9) & (distances < 4)
    labels_near = [set(labels[tuple(voxels[row].T)].tolist()) for row in near]
    assert sum(len(found) > 1 for found in labels_near) > 50


MATRICES = {
    "upper": {"symmetric": False},
    "unassigned": {"keep_unassigned": True},
    "weights": {"weights": "weights", "zero_diagonal": True},
    "mean_length": {"values": "lengths", "weights": "weights", "statistic": "mean"},
    "min_length": {"values": "lengths", "statistic": "min", "symmetric": False},
    "max_length": {"values": "lengths", "statistic": "max", "zero_diagonal": True},
    "inverse_length": {"values": "inverse_lengths", "weights": "weights"},
    "volume": {"per_node_volume": True, "keep_unassigned": True},
    "mean_file": {"values": "weights", "statistic": "mean"},
}


@pytest.mark.parametrize("name", MATRICES)
def test_every_edge_has_the_number_that_mrtrix_gives_it(name):
    tracks, labels, affine = case("oblique", torch.float64)
    given = {
        "weights": torch.from_numpy(oracle()["oblique_weights"]),
        "lengths": tracks.lengths,
        "inverse_lengths": inverse_lengths(tracks),
    }
    options = {key: given.get(value, value) for key, value in MATRICES[name].items()}
    theirs = oracle()[f"matrix_{name}"]
    assert np.nan_to_num(theirs).max() > 0
    # MRtrix adds lengths and keeps weights and scales in single precision, ε = 6e-8
    np.testing.assert_allclose(connectome(tracks, labels, affine, **options), theirs, rtol=5e-7, atol=0)


def test_equal_to_dipys_connectivity_matrix():
    utils = pytest.importorskip("dipy.tracking.utils")
    tracks, labels, affine = case("oblique")
    # DIPY takes no end outside the image
    ends = (tracks.ends.double() - affine[:3, 3]) @ affine[:3, :3].inverse().T
    inside = ((ends > -0.5) & (ends < torch.tensor(labels.shape) - 0.5)).all(2).all(1)
    tracks = tracks.select(inside)
    assert len(tracks) > 100
    theirs = utils.connectivity_matrix([curve.numpy() for curve in tracks], affine.numpy(), labels.numpy())
    ours = connectome(tracks, labels, affine, assignment=EndVoxels(), keep_unassigned=True)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("statistic", ["sum", "mean", "min", "max"])
@pytest.mark.parametrize("of_tracks", [lambda tracks: tracks.lengths, inverse_lengths])
def test_derivatives_reach_points_and_weights(statistic, of_tracks):
    tracks, labels, affine = case("oblique", torch.float64)
    generator = torch.Generator().manual_seed(1)
    weights = 0.5 + torch.rand(len(tracks), dtype=torch.float64, generator=generator)
    pull = torch.randn(8, 8, dtype=torch.float64, generator=generator)
    push = torch.randn(tracks.points.shape, dtype=torch.float64, generator=generator)
    nudge = torch.randn(len(tracks), dtype=torch.float64, generator=generator)

    def edges(points, weights):
        moved = Streamlines(points, tracks.offsets)
        # nodes stay those of the first points, as no derivative moves them
        matrix = connectome(
            moved, labels, affine, assignment=KnownNodes(nodes), values=of_tracks(moved), weights=weights,
            statistic=statistic, per_node_volume=True,
        )  # fmt: skip
        return (matrix.nan_to_num() * pull).sum()

    nodes = assign_nodes(tracks, labels, affine)
    points, counts = tracks.points.clone().requires_grad_(), weights.clone().requires_grad_()
    gradients = torch.autograd.grad(edges(points, counts), (points, counts), allow_unused=True)
    step = 1e-5
    for gradient, plus, minus, along in (
        (gradients[0], (tracks.points + step * push, weights), (tracks.points - step * push, weights), push),
        (
            gradients[1],
            (tracks.points, weights + step * nudge),
            (tracks.points, weights - step * nudge),
            nudge,
        ),
    ):
        difference = float(edges(*plus) - edges(*minus)) / (2 * step)
        slope = 0.0 if gradient is None else float((gradient * along).sum())
        # central differences: step² of curvature, and rounding 1e-16 × 1e3/step
        assert slope == pytest.approx(difference, rel=1e-6, abs=1e-7)
        assert slope != 0 or (statistic in ("min", "max") and along is nudge)


def test_a_point_has_no_length_and_no_inverse_of_it():
    tracks = Streamlines.from_list([torch.zeros(1, 3), torch.tensor([[0.0, 0, 0], [0, 0, 4]])])
    assert inverse_lengths(tracks).tolist() == [0.0, 0.25]


LABELS, AFFINE = torch.tensor([[[0, 1, 2]]]), torch.eye(4).double()
FAR = torch.tensor([[1.0, 0, 0, 50], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LINE = Streamlines.from_list([torch.tensor([[0.0, 0, 1], [0, 0, 2]])])


def with_label(value):
    labels = LABELS.double()
    labels[0, 0, 1] = value
    return labels


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((LINE, LABELS[0], AFFINE), {}, "labels have shape (1, 3); expected (X, Y, Z)"),
        ((LINE, with_label(0.5), AFFINE), {}, "labels hold 0.5 at voxel (0, 0, 1)"),
        ((LINE, with_label(-1), AFFINE), {}, "labels hold -1.0 at voxel (0, 0, 1)"),
        ((LINE, with_label(math.nan), AFFINE), {}, "labels hold nan at voxel (0, 0, 1)"),
        ((LINE, LABELS * 0, AFFINE), {}, "labels go up to 0; expected nodes numbered from 1"),
        ((LINE, LABELS * 10**6, AFFINE), {}, "labels go up to 2e+06; expected nodes numbered from 1, 20000"),
        ((LINE, LABELS, AFFINE * 0), {}, "affine is singular"),
        ((LINE, LABELS, FAR), {}, "no streamline meets the label image"),
        ((Streamlines.from_list([]), LABELS, AFFINE), {}, "tracks hold no streamline"),
        ((Streamlines.from_list([LINE[0], LINE[0][:0]]), LABELS, AFFINE), {}, "streamline 1 has no point"),
        ((Streamlines.from_list([LINE[0], LINE[0] / 0]), LABELS, AFFINE), {}, "streamline 1 has a"),
        ((LINE, LABELS, AFFINE), {"weights": torch.ones(2)}, "weights have shape (2,); expected (1,)"),
        ((LINE, LABELS, AFFINE), {"values": torch.ones(1, 1)}, "values have shape (1, 1); expected (1,)"),
        ((LINE, LABELS, AFFINE), {"statistic": "median"}, "statistic is 'median'; expected one of sum"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments, options, words):
    with pytest.raises(InputError) as error:
        connectome(*arguments, **options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("nodes", [[[0, 1], [1, 2]], [[0, 3]], [[-1, 0]]])
def test_known_nodes_are_those_of_the_labels(nodes):
    with pytest.raises(InputError, match=r"nodes .* expected"):
        connectome(LINE, LABELS, AFFINE, assignment=KnownNodes(torch.tensor(nodes)))


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
@pytest.mark.parametrize("search", [RadialSearch, ReverseSearch, ForwardSearch])
def test_a_search_goes_some_way(search, value):
    with pytest.raises(InputError, match="expected a positive number of mm"):
        search(value)

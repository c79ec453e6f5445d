"""Streamlines equal to those that DIPY makes of the same images."""

import numpy as np
import pytest
import torch
from dipy_cases import AFFINES, dipys_peaks, in_image_axes, peak_field, seeds, sh_field, strength

from torrey.tractography.propagation import (
    BinaryStopping,
    EuDX,
    MaximumDirection,
    ThresholdStopping,
    track_dipy,
)

pytest.importorskip("dipy")
from dipy.tracking.stopping_criterion import BinaryStoppingCriterion, ThresholdStoppingCriterion
from dipy.tracking.tracker import deterministic_tracking, eudx_tracking

# rounding of some hundred steps in mm here, in voxels there; a step chosen otherwise would be 0.01 mm or more
SAME = 1e-10

FRAMES = pytest.mark.parametrize("frame", AFFINES)


def stoppings(kind):
    """Return the same criterion, ours and DIPY's."""
    image = strength()
    if kind == "threshold":
        return ThresholdStopping(torch.from_numpy(image), 0.05), ThresholdStoppingCriterion(image, 0.05)
    return BinaryStopping(torch.from_numpy(image > 0.05)), BinaryStoppingCriterion(image > 0.05)


def assert_equal(ours, theirs):
    theirs = list(theirs)
    assert len(theirs) > 15
    assert ours.n_points.tolist() == [len(curve) for curve in theirs]
    np.testing.assert_allclose(ours.points.numpy(), np.concatenate(theirs), atol=SAME, rtol=0)


@FRAMES
@pytest.mark.parametrize(("kind", "angle"), [("threshold", 20), ("binary", 60)])
def test_maximum_direction(frame, kind, angle):
    ours, theirs = stoppings(kind)
    starts = seeds(frame, 50)
    assert_equal(
        track_dipy(
            sh_field(frame),
            torch.from_numpy(starts),
            algorithm=MaximumDirection(angle=angle),
            stopping=ours,
        ),
        deterministic_tracking(
            starts.copy(),
            theirs,
            AFFINES[frame],
            sh=in_image_axes(frame),
            basis_type="tournier07",
            legacy=False,
            max_angle=angle,
            nbr_threads=1,
        ),
    )


@FRAMES
@pytest.mark.parametrize("kind", ["threshold", "binary"])
def test_eudx(frame, kind):
    ours, theirs = stoppings(kind)
    starts = seeds(frame, 50)
    assert_equal(
        track_dipy(peak_field(frame), torch.from_numpy(starts), algorithm=EuDX(), stopping=ours),
        eudx_tracking(starts.copy(), theirs, AFFINES[frame], pam=dipys_peaks(), nbr_threads=1),
    )


@FRAMES
def test_lengths_steps_and_directions_of_seeds(frame):
    ours, theirs = stoppings("threshold")
    starts = seeds(frame, 400)
    axes = np.random.default_rng(0).normal(size=starts.shape)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    to_world = AFFINES[frame][:3, :3] / np.linalg.norm(AFFINES[frame][:3, :3], axis=0)
    tracks = track_dipy(
        peak_field(frame),
        torch.from_numpy(starts),
        torch.from_numpy(axes @ to_world.T),
        algorithm=EuDX(angle=70.0, threshold=0.2),
        stopping=ours,
        step=0.3,
        min_length=1.5,
        max_length=9.0,
    )
    dropped = len(starts) - len(tracks)
    assert dropped > 50  # by both rules on length
    assert (tracks.n_points == 30).any()  # as long as is allowed
    assert_equal(
        tracks,
        eudx_tracking(
            starts.copy(),
            theirs,
            AFFINES[frame],
            seed_directions=axes,
            pam=dipys_peaks(),
            max_angle=70.0,
            pmf_threshold=0.2,
            step_size=0.3,
            min_len=1.5,
            max_len=9.0,
            nbr_threads=1,
        ),
    )

"""`Posed` against rotations from SciPy, and its derivatives against differences."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from torrey.autodiff import jacobian
from torrey.shape import Extent, Posed, Tube
from torrey.shape.posed import rotation_of, vector_of

TUBE = Tube(n_control=4, n_radius=4, n_rings=1, n_layers=6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 0.5, 2.0, 3.1, math.pi])
def test_rotation_of_a_vector_is_that_of_its_angle_and_axis(angle):
    axis = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    axis /= axis.norm()
    expected = torch.from_numpy(Rotation.from_rotvec(angle * axis.numpy()).as_matrix())
    vector = 4 * math.tan(angle / 4) * axis
    # rounding of a few products
    torch.testing.assert_close(rotation_of(vector), expected, atol=1e-14, rtol=0)
    # near half a turn the angle is the arccos of a trace, good to the root of rounding
    torch.testing.assert_close(rotation_of(vector_of(expected)), expected, atol=2e-8, rtol=0)


def test_vector_of_every_kind_of_rotation():
    for matrix in Rotation.random(200, random_state=0).as_matrix():
        rotation = torch.from_numpy(matrix)
        vector = vector_of(rotation)
        assert float(vector.norm()) <= 4 * math.tan(math.pi / 4) + 1e-9
        torch.testing.assert_close(rotation_of(vector), rotation, atol=1e-9, rtol=0)


def test_vertices_turn_and_nothing_else_changes():
    posed, inner = Posed(TUBE), TUBE.straight(length=8.0, radius=1.0)
    turn = torch.from_numpy(Rotation.from_euler("xyz", [0.3, -1.0, 2.0]).as_matrix())
    latent = posed.with_rotation(inner, turn)
    torch.testing.assert_close(posed.vertices(latent), TUBE.vertices(inner) @ turn.T)
    assert posed.n_latent == TUBE.n_latent + 3
    assert posed.fold_margin(latent) == TUBE.fold_margin(inner)
    torch.testing.assert_close(posed.roughness(latent), TUBE.roughness(inner))
    assert posed.tets is TUBE.tets
    assert posed.start_margin == TUBE.start_margin > 0
    assert posed.n_candidates == TUBE.n_candidates


def test_derivatives_against_differences():
    posed = Posed(TUBE)
    latent = posed.with_rotation(TUBE.straight(length=8.0, radius=1.0), torch.eye(3).double())
    latent = latent + 0.1 * torch.randn(
        len(latent), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    slope, h = jacobian(posed.vertices, latent), 1e-6
    for i in (0, posed.n_latent - 3, posed.n_latent - 1):
        step = torch.zeros_like(latent)
        step[i] = h
        expected = (posed.vertices(latent + step) - posed.vertices(latent - step)) / (2 * h)
        # central differences: h² of curvature and rounding over h
        torch.testing.assert_close(slope[i], expected, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("axis", [(0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (1.0, 2.0, -0.5)])
def test_a_start_lies_along_the_axis_of_the_signal(axis):
    axis = torch.tensor(axis, dtype=torch.float64)
    axis /= axis.norm()
    generators = [None, *(torch.Generator().manual_seed(k) for k in range(5))]
    turns = set()
    for generator in generators:
        posed = Posed(TUBE)
        latent = posed.initial(Extent(20.0, 1.0, axis), generator=generator)
        points = posed.vertices(latent)
        points = points - points.mean(0)
        longest = torch.linalg.eigh(points.T @ points).eigenvectors[:, -1]
        # exact but for rounding: the longest axis is turned there
        assert abs(float(longest @ axis)) == pytest.approx(1.0, abs=1e-9)
        turns.add(round(float(latent[-3:].norm()), 6))
    assert len(turns) > 1

import base64
import math

import numpy as np
import pytest
import torch
from handmade import box_mesh, make_reconstruction

from torrey.report.surface_data import (
    normal_deviation,
    principal_frame,
    shown_directions,
    surface_data,
    vertex_normals,
)


def decode(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_principal_axis_of_a_turned_box_is_its_long_edge():
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).Q
    mesh = box_mesh(1, 2, 3, size=(1.0, 2.0, 6.0))
    surface = mesh.with_vertices(mesh.vertices @ turn.T).surface
    frame = principal_frame(surface.vertices.numpy(), surface.triangles.numpy())
    assert abs(frame.axes[0] @ turn[:, 2].numpy()) == pytest.approx(1, abs=1e-12)
    assert np.linalg.det(frame.axes) == pytest.approx(1)
    assert frame.centre == pytest.approx((turn @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)).tolist())


def test_normals_of_a_box_point_outwards():
    surface = box_mesh(2, 2, 2, size=(2.0, 2.0, 2.0)).surface
    vertices = surface.vertices.numpy() - [1, 2, 3]
    normals = vertex_normals(vertices, surface.triangles.numpy())
    face_centre = np.flatnonzero((np.abs(vertices) == [0, 0, 1]).all(1))
    assert normals[face_centre] == pytest.approx(np.sign(vertices[face_centre]), abs=1e-12)
    assert ((normals * vertices).sum(1) > 0).all()


def test_few_directions_are_all_shown_and_many_at_both_ends():
    assert shown_directions(5) == [0, 1, 2, 3, 4]
    assert shown_directions(8) == list(range(8))
    assert shown_directions(30) == [0, 1, 2, 3, 26, 27, 28, 29]


def test_deviation_of_a_shift_is_sigma_times_the_cosine(reconstruction):
    surface = box_mesh(2, 2, 2, size=(2.0, 2.0, 2.0)).surface
    vertices, triangles = surface.vertices.numpy(), surface.triangles.numpy()
    shift = np.zeros((20, len(vertices), 3))
    shift[19, :, 2] = 1.0
    deviation = normal_deviation(vertices, triangles, reconstruction.posterior, shift)
    normals = vertex_normals(vertices, triangles)
    assert deviation == pytest.approx(10**0.8 * np.abs(normals[:, 2]))


def test_packed_arrays_are_the_surface_of_the_mesh(reconstruction):
    data = surface_data(reconstruction)
    surface = reconstruction.mesh.surface
    vertices = decode(data["vertices"], "<f4").reshape(-1, 3)
    triangles = decode(data["triangles"], "<u4").reshape(-1, 3)
    a, b, c = (vertices[triangles[:, i]].astype(float) for i in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(
        float(surface.area), rel=1e-6
    )
    # the enclosed volume also says that the triangles still face outwards
    assert (a * np.cross(b, c)).sum() / 6 == pytest.approx(float(reconstruction.mesh.volume), rel=1e-6)
    worst = data["directions"][-1]
    assert worst["number"] == worst["of"] == 20
    assert worst["sigma"] == pytest.approx(10**0.8)
    assert decode(worst["displacement"], "<f4").shape == (3 * len(vertices),)


def test_an_open_direction_has_no_sigma(small_mesh):
    import dataclasses

    reconstruction = make_reconstruction(small_mesh)
    sigmas = reconstruction.posterior.standard_deviations.clone()
    sigmas[-1] = math.inf
    posterior = dataclasses.replace(reconstruction.posterior, standard_deviations=sigmas)
    data = surface_data(dataclasses.replace(reconstruction, posterior=posterior))
    assert data["directions"][-1]["sigma"] is None
    assert np.isfinite(decode(data["deviation"], "<f4")).all()

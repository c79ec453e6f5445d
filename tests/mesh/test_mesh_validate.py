import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_shapes import SPINDOCTOR_MESHES, cube_arrays

from torrey.errors import MeshError
from torrey.mesh import TetMesh, require_valid, validate

SPINDOCTOR = Path(os.environ.get("TORREY_SPINDOCTOR", "nowhere"))


def test_a_cube_is_valid():
    report = TetMesh(*cube_arrays(3)).validate()
    assert report.ok
    assert report.problems == ()
    assert (report.n_parts, report.n_compartments) == (1, 1)


def test_a_vertex_pushed_through_a_face_is_one_fold():
    points, tets = cube_arrays(2)
    mesh = TetMesh(points, tets)
    moved = points.clone()
    moved[13] = torch.tensor([3.2, 1.5, 1.5])  # the centre vertex, pushed out of the face x = 3
    report = validate(mesh.with_vertices(moved))
    expected = (mesh.with_vertices(moved).volumes < 0).nonzero()[:, 0]
    assert len(expected) > 0
    assert report.inverted.tolist() == expected.tolist()
    assert "inverted" in report.problems[0]


def test_a_fold_survives_the_mending_of_corner_order():
    """Two tets share a face and lie on the same side of it, whatever the corner order says."""
    points = torch.tensor(
        [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.3, 0.3, 1], [0.2, 0.2, 0.5]], dtype=torch.float64
    )
    mixed = TetMesh(points, [[0, 1, 2, 3], [0, 2, 1, 4]])
    assert validate(mixed).inverted.tolist() == [1]
    both_positive = TetMesh(points, [[0, 1, 2, 3], [0, 1, 2, 4]])
    report = validate(both_positive)
    assert report.overlapping_faces.tolist() == [[0, 1, 2]]
    assert not report.ok


def test_a_flat_tet_is_degenerate_and_a_thin_one_is_not():
    points, tets = cube_arrays(1)
    for height, expected in ((0.0, [6]), (1e-12, [6]), (1e-6, [])):
        apex = torch.tensor([[1.0, 1.2, 3 + height]], dtype=torch.float64)
        top = [1, 3, 7]  # on the face z = 3
        corners = [[*top, 8]] if height else [[1, 3, 7, 8]]
        mesh = TetMesh(torch.cat([points, apex]), torch.cat([tets, torch.tensor(corners)]))
        assert validate(mesh).degenerate.tolist() == expected


def test_a_face_of_three_tets_is_non_manifold():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1], [0.2, 0.2, -1], [0.3, 0.3, 2]])
    report = validate(TetMesh(points, [[0, 1, 2, 3], [0, 2, 1, 4], [0, 1, 2, 5]]))
    assert report.nonmanifold_faces.tolist() == [[0, 1, 2]]


def test_a_tet_given_twice_is_reported():
    points, tets = cube_arrays(1)
    assert not validate(TetMesh(points, torch.cat([tets, tets[:1]]))).ok
    assert not validate(TetMesh(points[tets[0]], [[0, 1, 2, 3], [0, 1, 2, 3]])).ok


def test_cubes_that_touch_in_an_edge_are_non_manifold():
    points, tets = cube_arrays(2)
    centres = points[tets].mean(1)
    keep = ((centres[:, 0] < 1.5) & (centres[:, 1] < 1.5)) | ((centres[:, 0] > 1.5) & (centres[:, 1] > 1.5))
    used, compact = torch.unique(tets[keep], return_inverse=True)
    report = validate(TetMesh(points[used], compact))
    assert len(report.nonmanifold_edges) == 2  # the line x = y = 1.5, two cells high
    assert report.n_parts == 2


@pytest.mark.parametrize(("labels", "ok"), [((0, 0), False), ((0, 1), True)])
def test_two_parts_are_a_problem_within_one_compartment_only(labels, ok):
    points, tets = cube_arrays(1)
    far = points + 10
    mesh = TetMesh(
        torch.cat([points, far]),
        torch.cat([tets, tets + 8]),
        torch.tensor(labels).repeat_interleave(len(tets)),
    )
    report = validate(mesh)
    assert report.n_parts == 2
    assert report.ok is ok


def test_an_unused_vertex_is_reported():
    points, tets = cube_arrays(1)
    report = validate(TetMesh(torch.cat([points, points[:1] + 1]), tets))
    assert report.unreferenced.tolist() == [8]


def test_require_valid_names_file_count_and_first_tet_in_one_line():
    points, tets = cube_arrays(1)
    mesh = TetMesh(points, tets).with_vertices(points * torch.tensor([1, 1, -1]))
    with pytest.raises(MeshError) as caught:
        require_valid(mesh, name="axon.vtu")
    message = str(caught.value)
    assert message.startswith("axon.vtu: 6 of 6 tets inverted (first: tet 0")
    assert "\n" not in message


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_permutation_of_corners_is_mended(seed):
    generator = np.random.default_rng(seed)
    points, tets = cube_arrays(2)
    shuffled = torch.as_tensor(generator.permuted(tets.numpy(), axis=1))
    mesh = TetMesh(points, shuffled)
    assert (mesh.volumes > 0).all()
    assert float(mesh.volume) == pytest.approx(27, rel=1e-13)
    assert torch.equal(mesh.tets.sort(1).values, tets.sort(1).values)


def test_shuffled_corners_do_not_hide_a_fold():
    points, tets = cube_arrays(2)
    points[13] = torch.tensor([3.2, 1.5, 1.5])
    expected = (TetMesh(*cube_arrays(2)).with_vertices(points).volumes < 0).nonzero()[:, 0].tolist()
    shuffled = torch.as_tensor(np.random.default_rng(3).permuted(tets.numpy(), axis=1))
    assert validate(TetMesh(points, shuffled)).inverted.tolist() == expected


def test_gradients_reach_the_vertices():
    points, tets = cube_arrays(1)
    points.requires_grad_()
    mesh = TetMesh(points, tets)
    (gradient,) = torch.autograd.grad(mesh.volume, points)
    # moving every vertex outwards by its own position scales the volume: dV = 3 V
    assert float((gradient * points.detach()).sum()) == pytest.approx(3 * 27, rel=1e-13)
    assert validate(mesh).worst_volume == pytest.approx(4.5)


@pytest.mark.parametrize(
    ("name", "tets", "n_inverted"),
    [
        ("folded", "cylinder_tets", 6),
        ("bent_twisted", "cylinder_tets", 0),
        ("straight", "cylinder_tets", 0),
        ("sphere", "sphere_tets", 0),
    ],
)
def test_spindoctor_meshes(name, tets, n_inverted):
    vertices, tets = SPINDOCTOR_MESHES[name], SPINDOCTOR_MESHES[tets]
    report = validate(TetMesh(vertices, tets))
    assert len(report.inverted) == n_inverted
    assert report.ok is (n_inverted == 0)
    # corner order is no evidence: mixed up by hand, the same six are found
    shuffled = np.random.default_rng(0).permuted(tets, axis=1)
    assert validate(TetMesh(vertices, shuffled)).inverted.tolist() == report.inverted.tolist()


@pytest.mark.skipif(not SPINDOCTOR.is_dir(), reason="TORREY_SPINDOCTOR names no folder of neuron meshes")
@pytest.mark.parametrize("name", ["dendrites_2", "mesh_only", "soma_mesh_only"])
def test_neuron_meshes_are_valid(name):
    data = np.load(SPINDOCTOR / f"neuron_03b_spindle4aACC_{name}.npz")
    assert validate(TetMesh(data["vertices"], data["elements"].astype(np.int64))).ok

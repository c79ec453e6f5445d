import math

import pytest
import torch
from mesh_shapes import REGULAR, cube_arrays

from torrey.mesh import TetMesh, edge_lengths, summarise_quality
from torrey.mesh.quality import edges, tet_quality


def test_a_regular_tet_has_quality_one_and_its_mirror_image_minus_one():
    tets = torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3]])
    quality = tet_quality(REGULAR, tets)
    assert quality.abs().tolist() == pytest.approx([1, 1], rel=1e-14)
    assert float(quality.sum()) == 0


def test_the_corner_of_a_cube_matches_its_closed_form():
    # legs 1: V = 1/6, A = (3 + √3)/2, R = √3/2
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.float64)
    inradius, circumradius = 0.5 / ((3 + math.sqrt(3)) / 2), math.sqrt(3) / 2
    quality = TetMesh(points, [[0, 1, 2, 3]]).quality
    assert quality.tolist() == pytest.approx([3 * inradius / circumradius], rel=1e-14)


def test_flat_and_collapsed_tets_have_quality_zero():
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    assert tet_quality(square, torch.tensor([[0, 1, 2, 3]])).tolist() == [0]
    assert tet_quality(torch.zeros(4, 3), torch.tensor([[0, 1, 2, 3]])).tolist() == [0]


def test_quality_does_not_depend_on_size_place_or_corner_order():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    even = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 3], [3, 2, 1, 0]])
    # random corners lose at most three digits of sixteen
    assert tet_quality(7 * points + 2, even).tolist() == pytest.approx(
        tet_quality(points, even[:1]).tolist() * 3, rel=1e-12
    )


def test_quality_passes_gradcheck():
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(tet_quality, (points, torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])))


def test_edges_of_a_cube():
    mesh = TetMesh(*cube_arrays(1))
    assert len(edges(mesh.tets)) == 12 + 6 + 1
    lengths = edge_lengths(mesh)
    expected = [3.0] * 12 + [3 * math.sqrt(2)] * 6 + [3 * math.sqrt(3)]
    assert lengths.sort().values.tolist() == pytest.approx(expected, rel=1e-14)
    summary = summarise_quality(mesh)
    assert summary.shortest_edge == pytest.approx(3)
    assert summary.longest_edge == pytest.approx(3 * math.sqrt(3))
    assert summary.mean_edge == pytest.approx(sum(expected) / 19)
    assert summary.aspect == pytest.approx(math.sqrt(3))
    assert summary.minimum == pytest.approx(summary.mean)  # the six tets are congruent

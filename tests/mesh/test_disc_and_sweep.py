import math

import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import TetMesh
from torrey.mesh.disc import disc
from torrey.mesh.sweep import sweep_connectivity
from torrey.mesh.volumes import tet_volumes


def signed_areas(points, triangles):
    a, b, c = points[triangles].unbind(1)
    u, v = b - a, c - a
    return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2


@pytest.mark.parametrize("n_rings", [1, 2, 3, 8])
def test_disc_has_the_area_and_topology_of_a_disc(n_rings):
    points, triangles = disc(n_rings)
    areas = signed_areas(points, triangles)
    assert len(points) == 1 + 3 * n_rings * (n_rings + 1)
    assert (areas > 0).all()
    assert float(areas.sum()) == pytest.approx(math.pi, rel=1e-13)  # round-off only
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]).sort(1).values
    _, counts = torch.unique(edges, dim=0, return_counts=True)
    assert len(points) - len(counts) + len(triangles) == 1  # Euler characteristic of a disc
    assert int((counts == 1).sum()) == 6 * n_rings


def test_disc_angles_stay_above_35_degrees():
    points, triangles = disc(10)
    corners = points[triangles]
    for i in range(3):
        u, v = corners[:, (i + 1) % 3] - corners[:, i], corners[:, (i + 2) % 3] - corners[:, i]
        cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))
        assert float(torch.rad2deg(cosine.acos()).min()) > 35


@pytest.mark.parametrize(("n_rings", "n_layers"), [(1, 1), (3, 4), (6, 2)])
def test_sweep_is_conforming_and_fills_the_cylinder(n_rings, n_layers):
    points, triangles = disc(n_rings)
    tets = sweep_connectivity(triangles, len(points), n_layers)
    z = torch.arange(n_layers + 1, dtype=torch.float64).repeat_interleave(len(points))
    vertices = torch.cat([points.repeat(n_layers + 1, 1), z[:, None]], dim=1)
    volumes = tet_volumes(vertices, tets)
    assert (volumes > 0).all()
    assert float(volumes.sum()) == pytest.approx(math.pi * n_layers, rel=1e-13)
    # a conforming mesh has only the outer faces unshared: two discs and 2 triangles for each outer
    # quadrilateral
    assert len(TetMesh(vertices, tets).boundary) == 2 * len(triangles) + 2 * 6 * n_rings * n_layers


def test_sweep_keeps_the_orientation_of_permuted_triangles():
    points, triangles = disc(2)
    rolled = triangles.roll(1, dims=1)
    tets = sweep_connectivity(rolled, len(points), 1)
    vertices = torch.cat(
        [points.repeat(2, 1), torch.arange(2.0).double().repeat_interleave(len(points))[:, None]], 1
    )
    assert (tet_volumes(vertices, tets) > 0).all()


def test_too_small_counts_are_refused():
    with pytest.raises(InputError, match="n_rings is 0"):
        disc(0)
    with pytest.raises(InputError, match="n_layers is 0"):
        sweep_connectivity(disc(1)[1], 7, 0)

"""The prism template against the geometry of the regular polygon."""

import math

import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import prism, summarise_quality, validate


def test_the_usual_prism_is_of_the_kind_of_the_paper():
    mesh = prism()
    assert (mesh.n_vertices, mesh.n_tets) == (315, 960)
    # the polygon of 12 corners on a circle of 3 µm, times 9 µm; rounding of a sum of 960 volumes
    assert float(mesh.volume) == pytest.approx(6 * 9 * math.sin(math.pi / 6) * 9, rel=1e-12)
    extent = torch.tensor([3.0, 3.0, 4.5], dtype=torch.float64)
    torch.testing.assert_close(mesh.vertices.amin(0), -extent)
    torch.testing.assert_close(mesh.vertices.amax(0), extent)
    assert (mesh.volumes > 0).all()
    assert validate(mesh).ok


@pytest.mark.parametrize(("n_sides", "n_layers"), [(12, 1), (16, 3), (24, 5), (40, 2)])
def test_any_polygon_is_filled_once(n_sides, n_layers):
    mesh = prism(2.0, 5.0, n_sides=n_sides, n_layers=n_layers)
    assert (mesh.volumes > 0).all()
    area = n_sides / 2 * 4 * math.sin(2 * math.pi / n_sides)
    assert float(mesh.volume) == pytest.approx(area * 5, rel=1e-12)
    # every triangle of the boundary has one tet only: sides, bottom and top
    n_ends = n_sides + n_sides // 4 + n_sides // 4 - 2
    assert len(mesh.boundary) == 2 * n_ends + 2 * n_sides * n_layers


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_sides": 10}, "n_sides is 10, expected a multiple of 4"),
        ({"n_sides": 8}, "at least 12"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"radius": -1.0}, "radius is -1.0, expected a positive"),
        ({"height": math.inf}, "height is inf"),
    ],
)
def test_wrong_sizes_are_errors(options, text):
    with pytest.raises(InputError, match=text):
        prism(**options)


def test_tets_are_of_fair_shape():
    assert summarise_quality(prism()).minimum > 0.1
    assert torch.isfinite(prism().vertices).all()

import math

import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import (
    box,
    cylinder,
    layered_cylinder,
    layered_sphere,
    sphere,
    sphere_in_box,
    summarise_quality,
    validate,
)
from torrey.mesh.compartments import split_compartments


@pytest.mark.parametrize("resolution", [1, 2, 3, 6])
def test_a_sphere_is_valid_and_has_the_volume_of_the_ball(resolution):
    mesh = sphere(5.0, resolution=resolution)
    assert validate(mesh).ok
    assert mesh.n_tets == 20 * resolution**3
    assert mesh.n_vertices == 1 + sum(10 * k**2 + 2 for k in range(1, resolution + 1))
    assert float(mesh.volume) == pytest.approx(4 / 3 * math.pi * 125, rel=1e-12)
    assert mesh.surface.vertices.norm(dim=1).std() < 1e-12


def test_the_area_of_a_sphere_converges_at_second_order():
    error = [float(sphere(2.0, resolution=n).surface_area) / (16 * math.pi) - 1 for n in (6, 12)]
    assert error[1] < 5e-4
    assert math.log2(error[0] / error[1]) == pytest.approx(2, abs=0.05)


def test_tets_of_a_sphere_stay_well_shaped():
    summary = summarise_quality(sphere(1.0, resolution=12))
    assert summary.minimum > 0.5
    assert summary.aspect < 2


@pytest.mark.parametrize(("n_rings", "n_layers"), [(1, 1), (3, 5)])
def test_a_cylinder_is_valid_and_has_the_volume_of_the_smooth_one(n_rings, n_layers):
    mesh = cylinder(2.0, 9.0, n_rings=n_rings, n_layers=n_layers)
    assert validate(mesh).ok
    assert float(mesh.volume) == pytest.approx(36 * math.pi, rel=1e-12)
    assert mesh.vertices.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_area_of_a_cylinder_converges_at_second_order():
    exact = 2 * math.pi * 4 + 2 * math.pi * 2 * 9
    error = [float(cylinder(2.0, 9.0, n_rings=n, n_layers=2).surface_area) / exact - 1 for n in (4, 8)]
    assert math.log2(error[0] / error[1]) == pytest.approx(2, abs=0.05)


def test_a_box_is_valid_and_exact():
    mesh = box((1.0, 2.0, 3.0), (3, 1, 2))
    assert validate(mesh).ok
    assert mesh.n_tets == 6 * 6
    assert (mesh.volumes > 0).all()
    assert float(mesh.volume) == pytest.approx(6, rel=1e-14)
    assert float(mesh.surface_area) == pytest.approx(22, rel=1e-14)
    assert mesh.vertices.amax(0).tolist() == [0.5, 1, 1.5]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: sphere(0.0), "radius is 0.0"),
        (lambda: sphere(1.0, resolution=0), "resolution is 0"),
        (lambda: cylinder(1.0, math.nan), "length is nan"),
        (lambda: cylinder(1.0, 1.0, n_rings=0), "n_rings is 0"),
        (lambda: box((1.0, -1.0, 1.0), (1, 1, 1)), "length along y is -1.0"),
        (lambda: box((1.0, 1.0, 1.0), (1, 1, 0)), "cells along z is 0"),
    ],
)
def test_impossible_sizes_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_surface_samples_lie_on_the_sphere_and_spread_evenly():
    mesh = sphere(3.0, resolution=6)
    points = mesh.surface.sample(4000, generator=torch.Generator().manual_seed(0))
    radii = points.norm(dim=1)
    assert (radii <= mesh.vertices.norm(dim=1).max() + 1e-12).all()
    assert (radii > 2.9).all()
    # standard error of a coordinate mean over 4000 independent points is 3/√3/√4000 = 0.027; five of them
    assert points.mean(0).abs().max() < 0.14


@pytest.mark.parametrize(("radius", "side", "resolution"), [(5.0, 14.0, 3), (2.0, 4.2, 2), (1.0, 8.0, 4)])
def test_sphere_in_box(radius, side, resolution):
    mesh = sphere_in_box(radius, side, resolution=resolution)
    assert mesh.validate().ok
    inner = float(mesh.volumes[mesh.compartments == 0].sum())
    assert inner == pytest.approx(4 / 3 * math.pi * radius**3, rel=1e-12)
    assert float(mesh.volume) == pytest.approx(side**3, rel=1e-12)
    assert float(mesh.quality.min()) > 0.1
    split = split_compartments(mesh)
    # the surface of the ball, and all of the cube's
    assert torch.equal(split.sides, torch.tensor([[0, 1]]).expand(len(split.interfaces), 2))
    distance = mesh.vertices[split.parent[split.interfaces]].norm(dim=-1)
    assert float(distance.max() - distance.min()) < 1e-12
    assert bool((split.wall_compartments == 1).all())


@pytest.mark.parametrize(("radius", "side"), [(5.0, 9.0), (0.0, 4.0), (-1.0, 4.0), (1.0, math.inf)])
def test_a_ball_that_does_not_fit_is_refused(radius, side):
    with pytest.raises(InputError, match="expected a ball that fits the cube"):
        sphere_in_box(radius, side)


LAYERED = {
    "sphere": lambda radii, n: layered_sphere(radii, resolution=n),
    "cylinder": lambda radii, n: layered_cylinder(radii, 7.0, n_rings=n, n_layers=3),
}
VOLUMES = {
    "sphere": lambda radius: 4 / 3 * math.pi * radius**3,
    "cylinder": lambda radius: 7 * math.pi * radius**2,
}


@pytest.mark.parametrize("shape", LAYERED)
@pytest.mark.parametrize(
    ("radii", "n", "least_quality"),
    [
        ((2.3,), 3, 0.3),
        ((3.1, 5.0), 4, 0.4),
        ((2.1, 2.6, 5.3), 6, 0.25),
        ((0.2, 5.0), 6, 0.05),
        ((4.7, 5.0), 6, 0.15),
    ],
)
def test_layers_are_valid_and_have_the_volumes_of_the_smooth_ones(shape, radii, n, least_quality):
    mesh = LAYERED[shape](radii, n)
    assert validate(mesh).ok
    assert float(mesh.quality.min()) > least_quality
    inside = 0.0
    for c, radius in enumerate(radii):
        inside += float(mesh.volumes[mesh.compartments == c].sum())
        assert inside == pytest.approx(VOLUMES[shape](radius), rel=1e-12)
    assert mesh.vertices.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-12)


@pytest.mark.parametrize("shape", LAYERED)
def test_layers_touch_their_neighbours_on_round_interfaces(shape):
    radii, n = (2.0, 3.0, 5.0), 10
    mesh = LAYERED[shape](radii, n)
    split = split_compartments(mesh)
    axes = 3 if shape == "sphere" else 2
    distance = mesh.vertices[:, :axes].norm(dim=1)
    assert set(map(tuple, split.sides.tolist())) == {(0, 1), (1, 2)}
    for c in (0, 1):
        corners = split.interfaces[split.between(c, c + 1)]
        # the facets, through which the compartments see each other, have the layer's count and one distance
        layer = round(n * radii[c] / radii[-1])
        assert len(corners) == (20 * layer**2 if shape == "sphere" else 3 * 2 * 6 * layer)
        r = distance[split.parent[corners.unique()]]
        assert float(r.max() - r.min()) < 1e-12
        # outside of the smooth interface, by the share that the facets cut off
        assert 1 < float(r.mean()) / radii[c] < 1 + 3 / layer**2
    outermost = split.walls[split.wall_compartments == 2]
    assert float(distance[split.parent[outermost.unique()]].max()) == float(distance.max())
    assert (len(outermost) == len(split.walls)) == (shape == "sphere")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layered_sphere(()), r"layered_sphere: radii are \(\), expected positive, increasing"),
        (lambda: layered_sphere((3.0, 3.0)), r"radii are \(3.0, 3.0\), expected positive, increasing"),
        (lambda: layered_sphere((0.0, 3.0)), r"radii are \(0.0, 3.0\)"),
        (lambda: layered_sphere((1.0, math.nan)), "radii are"),
        (lambda: layered_sphere((1.0, 2.0), resolution=1), "resolution is 1, expected at least 2"),
        (lambda: layered_sphere((4.9, 5.0), resolution=2), "resolution is 2, expected more for compartments"),
        (lambda: layered_cylinder((2.0, 1.0), 5.0), r"layered_cylinder: radii are \(2.0, 1.0\)"),
        (lambda: layered_cylinder((1.0, math.inf), 5.0), "radii are"),
        (lambda: layered_cylinder((1.0, 2.0), -5.0), "length is -5.0"),
        (lambda: layered_cylinder((1.0, 2.0), 5.0, n_layers=0), "n_layers is 0"),
        (lambda: layered_cylinder((1.0, 2.0, 3.0), 5.0, n_rings=2), "n_rings is 2, expected at least 3"),
        (lambda: layered_cylinder((4.99, 5.0), 5.0, n_rings=4), "n_rings is 4, expected more"),
    ],
)
def test_impossible_layers_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()

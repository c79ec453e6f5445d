import math

import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import box, cylinder, sphere, sphere_in_box, summarise_quality, validate
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

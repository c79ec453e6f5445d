import importlib.util
import math

import numpy as np
import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.errors import AccuracyWarning, InputError, MeshError
from torrey.mesh import (
    BoxAround,
    HullAround,
    Packing,
    Surface,
    WrapAround,
    box,
    cells,
    pack_spheres,
    sphere,
    spheres,
)
from torrey.mesh.compartments import split_compartments
from torrey.mesh.packed.cells import _EXCESS
from torrey.mesh.packed.extracellular import box_surface
from torrey.mesh.packed.winding import inside
from torrey.mesh.tetrahedralize import require_closed
from torrey.signal import MatrixFormalism, Tissue, simulate
from torrey.signal.analytic import Sphere

needs_mesher = pytest.mark.skipif(
    importlib.util.find_spec("pytetwild") is None, reason="pytetwild is not installed"
)


def balls(distance, *radii):
    """Return balls in a row along x, `distance` µm apart, as surfaces."""
    made = [sphere(r, resolution=4).surface for r in radii]
    return [
        Surface(ball.vertices + torch.tensor([distance * k, 0.0, 0.0]), ball.triangles)
        for k, ball in enumerate(made)
    ]


def compartment_volumes(mesh):
    zeros = torch.zeros(mesh.n_compartments, dtype=torch.float64)
    return zeros.index_add_(0, mesh.compartments, mesh.volumes)


def touching(mesh):
    return sorted(map(tuple, torch.unique(split_compartments(mesh).sides, dim=0).tolist()))


@pytest.fixture(scope="module")
def packed():
    return pack_spheres(
        [3.0, 3.9, 2.4, 3.3], volume_fraction=0.2, gap=0.45, generator=torch.Generator().manual_seed(1)
    )


@pytest.fixture(scope="module")
def packed_mesh(packed):
    return spheres(packed, edge_length=2.1)


@needs_mesher
def test_balls_touch_the_space_around_them_only_and_keep_their_volumes(packed, packed_mesh):
    assert packed_mesh.validate().ok
    assert touching(packed_mesh) == [(i, 4) for i in range(4)]
    # rounding of sums over thousands of tets
    exact = 4 / 3 * math.pi * packed.radii**3
    assert torch.allclose(compartment_volumes(packed_mesh)[:4], exact, rtol=1e-12)
    assert float(packed_mesh.volume) == pytest.approx(packed.side**3, rel=1e-12)
    assert float(packed_mesh.quality.min()) > 0.05


@needs_mesher
def test_walls_of_a_ball_lie_on_one_sphere(packed, packed_mesh):
    split = split_compartments(packed_mesh)
    for k, centre in enumerate(packed.centres):
        wall = split.parent[split.interfaces[split.between(k, 4)][:, 0]].unique()
        distance = (packed_mesh.vertices[wall] - centre).norm(dim=1)
        assert float(distance.max() - distance.min()) < 1e-12
        # edges of a third of the radius: the polyhedron of equal volume is wider by about h²/(6r²)
        assert 1 < float(distance.mean() / packed.radii[k]) < 1.03


@pytest.mark.parametrize("n", [3, 5, 9])
def test_vertices_of_a_ball_lie_as_far_outside_as_gaps_count_with(n):
    assert float(sphere(1.0, resolution=n).vertices.norm(dim=1).max()) - 1 < _EXCESS / n**2


@needs_mesher
def test_signals_of_closed_balls_are_the_mean_of_exact_ones(packed, packed_mesh):
    acquisition = Acquisition.pgse([2000.0], [[1.0, 0, 0]], small_delta=5.0, big_delta=15.0)
    tissue = Tissue(diffusivity=2.0, spin_density=[1.0, 1.0, 1.0, 1.0, 1e-9])
    ours = simulate(packed_mesh, tissue, acquisition, solver=MatrixFormalism(modes=100)).real
    exact = sum(
        4 / 3 * math.pi * r**3 * Sphere(r).attenuation(acquisition, 2.0) for r in packed.radii.tolist()
    )
    volume = float((4 / 3 * math.pi * packed.radii**3).sum())
    assert float(exact) / volume < 0.9  # so that the signals say something about the radii
    # first-order elements with edges of two thirds of a radius: 3e-3 measured
    assert float((ours - exact).abs()) / volume < 6e-3


@needs_mesher
def test_a_nucleus_lies_in_its_cell():
    cell, nucleus = balls(0.0, 2.0, 0.8)
    mesh = cells([cell, nucleus], edge_length=1.0, extracellular=BoxAround(0.5))
    assert mesh.validate().ok
    assert touching(mesh) == [(0, 1), (0, 2)]
    ball = 4 / 3 * math.pi
    side = 2 * (float(cell.vertices.amax()) + 0.5)
    expected = [ball * (8 - 0.512), ball * 0.512, side**3 - ball * 8]
    # walls stay within edge_length/50 of the surfaces, which is up to 3 % of the nucleus
    assert compartment_volumes(mesh).tolist() == pytest.approx(expected, rel=0.01)
    assert float(mesh.volume) == pytest.approx(side**3, rel=1e-12)


@needs_mesher
def test_surfaces_that_cross_are_warned_of():
    cubes = [box_surface(np.full(3, k), np.full(3, k + 2.0)) for k in (0.0, 1.5)]
    with pytest.warns(AccuracyWarning, match="look for surfaces that cross"):
        cells(cubes, edge_length=1.0, extracellular=BoxAround(0.5))


def test_a_compartment_that_the_mesher_leaves_empty_is_named(monkeypatch):
    around = box((4.0, 4.0, 4.0), (4, 4, 4))
    made = (around.vertices.numpy(), around.tets.numpy())
    monkeypatch.setitem(cells.__globals__, "run_ftetwild", lambda *_, **__: made)
    cube = box_surface(-np.ones(3), np.ones(3))
    with pytest.raises(MeshError, match="no tets in compartment 0"):
        cells([cube, cube], edge_length=1.0, extracellular=BoxAround(1.0))


def test_a_hull_around_two_balls_is_a_capsule():
    hull = HullAround(0.5).surface(balls(3.0, 1.0, 1.0), 0.5)
    require_closed(hull)
    capsule = 4 / 3 * math.pi * 1.5**3 + 3 * math.pi * 1.5**2
    # both balls, with 162 vertices, and the ball of the margin, with 92, lie inside the round ones
    assert float(hull.enclosed_volume) == pytest.approx(capsule, rel=0.03)


@pytest.mark.parametrize("edge_length", [0.3, 1.0])  # the grid is as wide, or twice the margin
def test_a_wrap_around_two_balls_is_one_closed_surface_at_a_distance(edge_length):
    radius, margin = 1.0, 0.25
    wrap = WrapAround(margin).surface(balls(2.3, radius, radius), edge_length)
    require_closed(wrap)
    centres = torch.tensor([[0.0, 0, 0], [2.3, 0, 0]], dtype=torch.float64)
    distance = (torch.cdist(wrap.vertices, centres) - radius).amin(1)
    # the smooth distance is at most that to the nearest ball; vertices lie amid crossings, up to
    # (diagonal of a cell)²/8r = 0.08 µm inside the wrap
    assert float(distance.min()) > margin - 0.08
    assert float(distance.median()) < 1.4 * margin
    with pytest.raises(InputError, match="falls into 2 parts"):
        WrapAround(0.2).surface(balls(4.0, radius, radius), 0.3)


def test_points_inside_a_surface_are_found():
    ball = sphere(1.0, resolution=6).surface
    points = 1.3 * (2 * torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)).double() - 1)
    distance = points.norm(dim=1)
    clear = (distance - 1).abs() > 0.02  # the polyhedron's walls are that close to the sphere
    found = torch.from_numpy(inside(ball, points.numpy()))
    assert torch.equal(found[clear], (distance < 1)[clear])


def test_box_surface_is_closed():
    lower, upper = np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])
    surface = box_surface(lower, upper)
    require_closed(surface)
    assert float(surface.enclosed_volume) == pytest.approx(6)
    assert surface.vertices.amin(0).tolist() == lower.tolist()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: spheres(Packing([[0.0, 0.0]], [1.0], 4.0), edge_length=1.0), InputError, "packing of balls"),
        (
            lambda: spheres(Packing([[0.0] * 3], [1.0], 4.0), edge_length=0.0),
            InputError,
            "edge_length is 0.0",
        ),
        (
            lambda: cells([], edge_length=1.0, extracellular=BoxAround(1.0)),
            InputError,
            "at least one surface",
        ),
        (
            lambda: cells(
                [Surface(sphere(1.0).vertices, sphere(1.0).boundary[1:])],
                edge_length=1.0,
                extracellular=BoxAround(1.0),
            ),
            MeshError,
            "cells: surface 0: is open",
        ),
    ],
)
def test_impossible_cells_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()

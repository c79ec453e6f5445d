import math

import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.errors import InputError, MeshError
from torrey.mesh import (
    BoxAround,
    HullAround,
    Packing,
    WrapAround,
    cylinders,
    gamma_radii,
    pack_cylinders,
)
from torrey.mesh.compartments import split_compartments
from torrey.mesh.packed.curves import Circle
from torrey.mesh.packed.triangulate import triangulate
from torrey.signal import MatrixFormalism, Tissue, simulate
from torrey.signal.analytic import Cylinder


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def packing(n=8, *, fraction=0.5, gap=0.1, mean=1.0):
    radii = gamma_radii(n, mean=mean, std=0.3 * mean, generator=seeded())
    return pack_cylinders(radii, volume_fraction=fraction, gap=gap, generator=seeded())


def compartment_volumes(mesh):
    zeros = torch.zeros(mesh.n_compartments, dtype=torch.float64)
    return zeros.index_add_(0, mesh.compartments, mesh.volumes)


def pairs(mesh):
    """Return which compartments touch, and their common area, µm²."""
    split = split_compartments(mesh)
    a, b, c = mesh.vertices[split.parent[split.interfaces[:, 0]]].unbind(1)
    areas = torch.linalg.cross(b - a, c - a).norm(dim=1) / 2
    sides, number = torch.unique(split.sides, dim=0, return_inverse=True)
    total = torch.zeros(len(sides), dtype=torch.float64).index_add_(0, number, areas)
    return dict(zip(map(tuple, sides.tolist()), total.tolist(), strict=True))


def two_discs(distance, radius=1.0):
    return Packing([[-distance / 2, 0.0], [distance / 2, 0.0]], [radius, radius], distance + 4 * radius)


@pytest.mark.parametrize(("fraction", "gap"), [(0.6, 0.1), (0.62, 0.03)])
def test_cylinders_touch_the_space_around_them_only_and_keep_their_volumes(fraction, gap):
    packed = packing(fraction=fraction, gap=gap)
    mesh = cylinders(packed, 2.0, edge_length=0.5)
    assert mesh.validate().ok
    volumes = compartment_volumes(mesh)
    # rounding of sums over thousands of tets
    assert torch.allclose(volumes[:-1], 2 * math.pi * packed.radii**2, rtol=1e-12)
    assert float(mesh.volume) == pytest.approx(2 * packed.side**2, rel=1e-12)
    assert sorted(pairs(mesh)) == [(i, 8) for i in range(8)]


def test_areas_of_walls_converge_at_second_order():
    packed = packing(4, fraction=0.3, gap=0.3)
    exact = 2 * math.pi * packed.radii.tolist()[0]
    error = []
    for edge_length in (0.3, 0.15):  # far below the gaps, so that circles are divided evenly
        area = pairs(cylinders(packed, 1.0, edge_length=edge_length, n_layers=1))[0, 4]
        error.append(area / exact - 1)
    assert abs(error[1]) < 5e-4
    # the number of edges on a circle is rounded up
    assert math.log2(error[0] / error[1]) == pytest.approx(2, abs=0.3)


def test_myelin_lies_between_axon_and_outer_space():
    packed, g = packing(5), 0.7
    mesh = cylinders(packed, 1.0, edge_length=0.5, g_ratio=g, n_layers=2)
    assert mesh.validate().ok
    volumes, area = compartment_volumes(mesh), math.pi * packed.radii**2
    assert torch.allclose(volumes[:5], g**2 * area, rtol=1e-12)
    assert torch.allclose(volumes[5:10], (1 - g**2) * area, rtol=1e-12)
    assert sorted(pairs(mesh)) == sorted([(i, 5 + i) for i in range(5)] + [(5 + i, 10) for i in range(5)])


def test_triangles_stay_well_shaped_in_narrow_gaps():
    packed = packing(12, fraction=0.6, gap=0.02)
    circles = [
        Circle(x, y, r) for (x, y), r in zip(packed.centres.tolist(), packed.radii.tolist(), strict=True)
    ]
    points, triangles, _ = triangulate(circles, 0.5)
    corners = torch.from_numpy(points[triangles])
    ahead, behind = corners.roll(-1, 1) - corners, corners.roll(1, 1) - corners
    cosine = (ahead * behind).sum(2) / (ahead.norm(dim=2) * behind.norm(dim=2))
    # refinement stops above 25.8 degrees; smoothing may give some of it back
    assert float(torch.rad2deg(cosine.clamp(-1, 1).acos()).min()) > 20
    # layers of 0.5 µm over triangles of 0.02 µm
    assert float(cylinders(packed, 1.0, edge_length=0.5).quality.min()) > 0.03


def test_a_hull_of_two_discs_is_a_stadium():
    mesh = cylinders(two_discs(3.0), 1.0, edge_length=0.3, extracellular=HullAround(0.5), n_layers=1)
    stadium = math.pi * 1.5**2 + 2 * 1.5 * 3.0
    # chords cut a tenth of the margin at most, 0.05 µm, two thirds of that on average, around 15.4 µm
    assert stadium - 0.05 * 2 / 3 * 15.4 < float(mesh.volume) < stadium
    assert mesh.validate().ok


def test_a_wrap_of_one_disc_is_a_disc():
    alone = Packing([[0.3, -0.2]], [1.0], 4.0)
    mesh = cylinders(alone, 1.0, edge_length=0.1, extracellular=WrapAround(0.25), n_layers=1)
    # chords of 0.1 µm leave out h²/6r² = 1.1e-3 of the area, and linear interpolation on a grid of 0.125 µm
    # up to h²/4r² = 2.5e-3
    assert float(mesh.volume) == pytest.approx(math.pi * 1.25**2, rel=3.6e-3)


def test_a_wrap_bridges_a_gap_and_keeps_its_distance():
    packed, margin = two_discs(2.3), 0.3
    mesh = cylinders(packed, 1.0, edge_length=0.3, extracellular=WrapAround(margin), n_layers=1)
    assert mesh.validate().ok
    corners = mesh.vertices[mesh.boundary]
    upright = corners[..., 2].amax(1) > corners[..., 2].amin(1)
    outline = corners[upright][..., :2].reshape(-1, 2)
    distance = (torch.cdist(outline, packed.centres) - 1).amin(1)
    top = outline[outline[:, 0].abs() < 0.1, 1].abs().min()
    # the smooth distance is at most that to the nearest disc; the plain union would dip to 0.61 µm
    assert float(distance.min()) > 0.95 * margin
    assert float(top) > math.sqrt(1.3**2 - 1.15**2) + 0.05
    with pytest.raises(InputError, match="falls into 2 parts"):
        cylinders(two_discs(4.0), 1.0, edge_length=0.3, extracellular=WrapAround(0.2))


def test_a_box_around_is_wider_by_its_margin():
    mesh = cylinders(two_discs(3.0), 2.0, edge_length=0.5, extracellular=BoxAround(0.4))
    assert float(mesh.volume) == pytest.approx(2 * 5.8 * 2.8, rel=1e-12)


def test_signals_across_closed_cylinders_are_the_mean_of_exact_ones():
    packed = packing(3, fraction=0.4, gap=0.3, mean=3.0)
    acquisition = Acquisition.pgse(
        [500.0, 2000.0, 4000.0, 2000.0],
        [[1.0, 0, 0], [1.0, 0, 0], [0.6, 0.8, 0], [0, 1.0, 0]],
        small_delta=5.0,
        big_delta=20.0,
    )
    exact = sum(
        math.pi * r**2 * Cylinder(r, 1.0).attenuation(acquisition, 2.0) for r in packed.radii.tolist()
    )
    volume = math.pi * float((packed.radii**2).sum())
    # water outside weighs nothing
    tissue = Tissue(diffusivity=2.0, spin_density=[1.0, 1.0, 1.0, 1e-9])
    mesh = cylinders(packed, 1.0, edge_length=1.6, n_layers=1)
    ours = simulate(mesh, tissue, acquisition, solver=MatrixFormalism(modes=60, order=2)).real
    # polygons of the right area with edges of half a radius: 1.5e-4 measured
    assert float((ours - exact).abs().max()) / volume < 4e-4
    assert float(exact.min()) / volume < 0.6  # so that the signals say something about the radii


def test_exchange_keeps_every_spin():
    mesh = cylinders(packing(4), 1.0, edge_length=0.6, n_layers=1)
    walls = {(i, 4): 0.5 for i in range(4)}
    acquisition = Acquisition.pgse([0.0, 1000.0], [[1.0, 0, 0]] * 2, small_delta=5.0, big_delta=20.0)
    solver = MatrixFormalism(modes=60)
    open_, closed = (
        simulate(mesh, Tissue(permeability=kappa), acquisition, solver=solver).real for kappa in (walls, None)
    )
    assert float(open_[0]) == pytest.approx(float(mesh.volume), rel=1e-12)
    assert abs(float(open_[1] - closed[1])) > 0.01 * float(mesh.volume)


def test_curves_that_cross_are_refused():
    with pytest.raises(MeshError, match="expected curves that do not touch"):
        triangulate([Circle(0.0, 0.0, 1.0), Circle(1.0, 0.0, 1.0)], 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"length": 0.0}, "length is 0.0"),
        ({"edge_length": -1.0}, "edge_length is -1.0"),
        ({"g_ratio": 1.0}, "g_ratio is 1.0"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"packing": Packing([[0.0, 0.0, 0.0]], [1.0], 4.0)}, "expected a packing of discs"),
    ],
)
def test_impossible_cylinders_are_refused(changes, words):
    options = {"packing": two_discs(3.0), "length": 1.0, "edge_length": 0.5} | changes
    with pytest.raises(InputError, match=words):
        cylinders(options.pop("packing"), options.pop("length"), **options)


@pytest.mark.parametrize("kind", [BoxAround, HullAround, WrapAround])
def test_margins_are_positive(kind):
    with pytest.raises(InputError, match=f"{kind.__name__}: margin is 0"):
        kind(0)

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import Morphology, TetMesh, neuron_mesh, read_swc, summarise_quality, tet_volumes
from torrey.mesh.traced.bisect import bisect, kuhn_cube
from torrey.mesh.traced.round_cones import RoundCones, cones_of
from torrey.mesh.traced.stuffing import WORST

NEURON = Path(__file__).parents[1] / "data" / "neuron.swc"


def morphology(*rows):
    """Return the tree of rows (type, x, y, z, radius, parent row)."""
    table = torch.tensor(rows, dtype=torch.float64)
    kinds, parents = table[:, 0].long(), table[:, 5].long()
    return Morphology(torch.arange(len(rows)) + 1, kinds, table[:, 1:4], table[:, 4], parents)


def cap(radius, height):
    return math.pi * height**2 * (3 * radius - height) / 3


def round_cone_volume(r0, r1, length):
    """Return the volume of two balls and the frustum that touches both along circles."""
    sine = (r0 - r1) / length
    cosine = math.sqrt(1 - sine**2)
    a, b, height = r0 * cosine, r1 * cosine, length - (r0 - r1) * sine
    frustum = math.pi * height / 3 * (a * a + a * b + b * b)
    return frustum + cap(r0, r0 * (1 + sine)) + cap(r1, r1 * (1 - sine))


# flat triangles with edges of 0.8 of the radius lose 14 % of a branch before the boundary is moved out; what
# is left then is of fourth order: 0.4 % at 0.8, 0.01 % at 0.4
@pytest.mark.parametrize(("edge_over_radius", "tolerance"), [(1.0, 0.01), (0.8, 0.01), (0.4, 0.001)])
def test_a_tapering_branch_has_the_volume_of_its_round_cone(edge_over_radius, tolerance):
    tree = morphology((2, 0, 0, 0, 1.0, -1), (2, 10, 1, 2, 0.5, 0))
    mesh = neuron_mesh(tree, edge_over_radius=edge_over_radius)
    expected = round_cone_volume(1.0, 0.5, math.sqrt(105))
    assert float(mesh.volume) == pytest.approx(expected, rel=tolerance)
    assert mesh.validate().ok


@pytest.mark.parametrize("radius", [1.0, 0.3])
def test_a_cell_body_with_a_neurite_has_the_volume_of_ball_and_rod(radius):
    """The neurite keeps its radius inside the body; a cone drawn out from the body would be far larger."""
    body, length = 6.0, 14.0
    mesh = neuron_mesh(morphology((1, 0, 0, 0, body, -1), (3, length, 0, 0, radius, 0)))
    leaves = math.sqrt(body**2 - radius**2)
    rod = math.pi * radius**2 * (length - leaves) + 2 / 3 * math.pi * radius**3
    ball = 4 / 3 * math.pi * body**3 - cap(body, body - leaves)
    assert mesh.validate().ok
    # the ball is coarse, 2 triangles to a radius, and within 0.4 % of its volume
    assert float(mesh.volume) == pytest.approx(ball + rod, rel=0.006)
    corners = mesh.vertices[mesh.tets]
    middle = corners.mean(1)
    own = math.pi * radius**2 * (length - body) + 2 / 3 * math.pi * radius**3
    # whole tets on either side of the plane
    assert float(mesh.volumes[middle[:, 0] > body].sum()) == pytest.approx(own, rel=0.03)
    # where it leaves the body its tets are as small as elsewhere; the diagonal of a cube is √3 of its edge
    leaving = (middle[:, 0] > body - radius / 2) & (middle[:, 0] < body + radius)
    leaving &= middle[:, 1:].norm(dim=1) < radius
    edges = (corners[:, :, None] - corners[:, None]).norm(dim=-1).flatten(1).amax(1)
    assert leaving.sum() > 20
    assert float(edges[leaving].max()) < 1.1 * math.sqrt(3) * 0.8 * radius


def test_a_tree_that_starts_at_the_end_of_a_neurite_is_the_same():
    outwards = morphology((1, 0, 0, 0, 4.0, -1), (3, 9, 0, 0, 1.0, 0))
    inwards = morphology((3, 9, 0, 0, 1.0, -1), (1, 0, 0, 0, 4.0, 0))
    volumes = [float(neuron_mesh(tree).volume) for tree in (outwards, inwards)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-6)


def test_three_points_that_stand_for_a_ball_are_a_ball():
    ball = ((1, 0, 0, 0, 5.0, -1), (1, 0, 5, 0, 5.0, 0), (1, 0, -5, 0, 5.0, 0))
    assert float(neuron_mesh(morphology(*ball)).volume) == pytest.approx(4 / 3 * math.pi * 125, rel=0.01)
    # three points elsewhere are two round cones
    chain = (ball[0], (1, 0, 8, 0, 5.0, 0), (1, 0, -8, 0, 5.0, 0))
    assert float(neuron_mesh(morphology(*chain)).volume) == pytest.approx(
        4 / 3 * math.pi * 125 + 16 * math.pi * 25, rel=0.01
    )


def test_one_node_is_a_ball_and_a_ball_in_a_ball_is_none():
    assert float(neuron_mesh(morphology((1, 1, 2, 3, 2.0, -1))).volume) == pytest.approx(
        4 / 3 * math.pi * 8, rel=0.01
    )
    inside = morphology((3, 0, 0, 0, 2.0, -1), (3, 0.5, 0, 0, 1.0, 0), (3, 0.5, 0, 0, 1.0, 1))
    assert float(neuron_mesh(inside).volume) == pytest.approx(4 / 3 * math.pi * 8, rel=0.01)


def sampled_union(tree, n, rng):
    """Return the volume of the round cones of `tree` united, and its standard error, from n random points.

    Points drawn in the cones by their volume count 1/(number of cones that hold them) (Karp and Luby 1983). A
    point is held where a ball of a row of sixty holds it.
    """
    cones = cones_of(tree)
    lengths = np.linalg.norm(cones.end - cones.start, axis=1)
    nested = lengths <= np.abs(cones.r0 - cones.r1)
    r0, r1 = cones.r0, cones.r1
    volumes = np.array(
        [
            4 / 3 * math.pi * max(a, b) ** 3 if alone else round_cone_volume(a, b, length)
            for a, b, length, alone in zip(r0, r1, lengths, nested, strict=True)
        ]
    )
    s = np.linspace(0, 1, 60)[:, None]
    centres = cones.start + s[..., None] * (cones.end - cones.start)
    radii = r0 + s * (r1 - r0)
    counts = rng.multinomial(n, volumes / volumes.sum())
    weights: list[float] = []
    for i in np.flatnonzero(counts):
        low, high = (centres[:, i] - radii[:, i, None]).min(0), (centres[:, i] + radii[:, i, None]).max(0)
        box = rng.uniform(low, high, size=(20 * counts[i] + 100, 3))
        own = (np.linalg.norm(box[:, None] - centres[:, i], axis=2) <= radii[:, i]).any(1)
        assert own.sum() >= counts[i]
        chosen = box[own][: counts[i]]
        weights += [1 / (np.linalg.norm(p - centres, axis=2) <= radii).any(0).sum() for p in chosen]
    return volumes.sum() * np.mean(weights), volumes.sum() * np.std(weights) / math.sqrt(n)


def test_a_neuron_with_thin_branches_is_one_valid_piece_of_the_right_volume():
    tree = read_swc(NEURON)
    mesh = neuron_mesh(tree, edge_over_radius=1.0)
    report = mesh.validate()
    assert report.ok
    assert (report.n_parts, mesh.n_compartments) == (1, 1)
    assert float(mesh.quality.min()) > 0
    expected, error = sampled_union(tree, 3000, np.random.default_rng(0))
    assert float(mesh.volume) == pytest.approx(expected, abs=3 * error + 0.005 * expected)
    assert 3 * error < 0.02 * expected
    # every node is in the mesh: the nearest vertex is not farther than a radius and some
    gap = torch.cdist(tree.positions, mesh.vertices).amin(1)
    assert bool((gap < 1.01 * tree.radii).all())


def test_edges_are_as_short_as_asked():
    tree = morphology((3, 0, 0, 0, 2.0, -1), (3, 8, 0, 0, 2.0, 0))
    fine = summarise_quality(neuron_mesh(tree, edge_length=0.5))
    assert 0.3 < fine.mean_edge < 0.7
    assert fine.longest_edge < 1.5
    assert fine.minimum > WORST / 2


def test_the_same_tree_elsewhere_gives_the_same_mesh():
    rows = ((3, 0, 0, 0, 1.0, -1), (3, 3, 1, 0, 0.6, 0), (3, 4, 4, 1, 0.5, 1), (3, 5, -1, 2, 0.4, 1))
    here = neuron_mesh(morphology(*rows))
    there = neuron_mesh(morphology(*((k, x + 100, y, z, r, p) for k, x, y, z, r, p in rows)))
    assert here.n_tets == pytest.approx(there.n_tets, rel=0.02)  # rounding may turn a cut
    assert float(here.volume) == pytest.approx(float(there.volume), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edge_length": 0.0}, "edge_length is 0"),
        ({"edge_length": math.nan}, "edge_length is nan"),
        ({"edge_over_radius": 1.5}, "edge_over_radius is 1.5"),
        ({"edge_over_radius": 0.0}, "edge_over_radius is 0"),
    ],
)
def test_impossible_edges_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        neuron_mesh(morphology((1, 0, 0, 0, 2.0, -1)), **options)


def test_too_many_tets_are_refused(monkeypatch):
    monkeypatch.setattr("torrey.mesh.traced.cone_grid.MOST_TETS", 1000)
    with pytest.raises(InputError, match="more than 1000 tets"):
        neuron_mesh(morphology((1, 0, 0, 0, 2.0, -1)), edge_length=0.1)


def test_distance_to_a_round_cone_is_that_to_the_nearest_of_its_balls():
    rng = np.random.default_rng(1)
    cones = RoundCones(rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), rng.uniform(0.1, 2, 6), np.ones(6))
    points, which = 2 * rng.normal(size=(300, 3)), rng.integers(6, size=300)
    s = np.linspace(0, 1, 4001)[:, None]
    centres = cones.start[which] + s[..., None] * (cones.end - cones.start)[which]
    radii = cones.r0[which] + s * (cones.r1 - cones.r0)[which]
    brute = (np.linalg.norm(points - centres, axis=2) - radii).min(0)
    # rows of 4000 balls miss the least by the square of their spacing
    np.testing.assert_allclose(cones.distance(points, which)[0], brute, atol=1e-5)


def test_bisection_leaves_no_hanging_vertex_and_few_shapes():
    mesh = kuhn_cube(np.zeros(3), 1.0)
    for _ in range(12):
        centre = mesh.vertices[mesh.tets].mean(1)
        mesh = bisect(mesh, np.linalg.norm(centre - [0.3, 0.4, 0.5], axis=1) < 0.3)
    cube = TetMesh(torch.as_tensor(mesh.vertices), torch.as_tensor(mesh.tets))
    assert cube.validate().ok
    # a hanging vertex would leave inner faces with one tet
    assert float(cube.surface_area) == pytest.approx(6.0, rel=1e-12)
    assert float(cube.volume) == pytest.approx(1.0, rel=1e-12)
    assert float(cube.quality.min()) > 0.6
    assert float(tet_volumes(cube.vertices, cube.tets).min()) > 0

import math
import time

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from torrey.errors import InputError
from torrey.inverse.chamfer import axis_rotations
from torrey.inverse.metrics import (
    chamfer,
    chamfer_up_to_inversion,
    chamfer_up_to_symmetry,
    cylinder_of_equal_volume,
    dice,
    volume_overlap,
)
from torrey.mesh import Bead, Bend, Surface, TetMesh, Twist, box, cylinder, deform, sphere
from torrey.mesh.nearest import TriangleTarget


def moved(mesh, matrix=None, shift=(0.0, 0.0, 0.0)):
    """Return `mesh` under x ↦ Mx + t, reoriented where M is a reflection."""
    matrix = torch.eye(3, dtype=torch.float64) if matrix is None else torch.as_tensor(matrix)
    return TetMesh(mesh.vertices @ matrix.T + torch.tensor(shift, dtype=torch.float64), mesh.tets)


def chiral():
    """A shape that none of the 48 axis isometries maps to itself."""
    return deform(cylinder(1.5, 9.0, n_rings=3, n_layers=16), Bead(0.3, 1), Bend(0.03), Twist(0.5))


# ----- nearest points: against minimisation over the triangle that knows nothing of regions


def distances_by_brute_force(points, corners):
    """Distance to each triangle by projecting on every feature and keeping the valid one; no search tree."""
    best = np.full(len(points), np.inf)
    for a, b, c in corners:
        for p, q in ((a, b), (b, c), (c, a)):
            run = q - p
            t = np.clip((points - p) @ run / max(run @ run, 1e-300), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - p - t[:, None] * run, axis=1))
        basis = np.stack([b - a, c - a], axis=1)
        if np.linalg.matrix_rank(basis) == 2:
            weights = np.linalg.lstsq(basis, (points - a).T, rcond=None)[0]
            foot = a + (basis @ weights).T
            inside = (weights >= 0).all(0) & (weights.sum(0) <= 1)
            best = np.where(inside, np.minimum(best, np.linalg.norm(points - foot, axis=1)), best)
    return best


@pytest.mark.parametrize("spread", [0.2, 3.0, 30.0])
def test_distance_to_triangles_is_exact_near_and_far(spread):
    generator = np.random.default_rng(0)
    vertices = generator.normal(size=(60, 3))
    triangles = np.stack([generator.choice(60, 3, replace=False) for _ in range(150)])
    vertices[triangles[0]] *= 50  # a few triangles much larger than the others
    triangles[1] = [3, 3, 3]  # a point
    vertices[triangles[2, 2]] = vertices[triangles[2, :2]].mean(0)  # a line
    points = spread * generator.normal(size=(300, 3))
    distance = TriangleTarget(vertices, triangles).distance(points)
    expected = distances_by_brute_force(points, vertices[triangles])
    assert np.abs(distance - expected).max() < 1e-11  # rounding of coordinates up to 150


def test_a_point_on_the_surface_has_distance_zero():
    surface = chiral().surface
    target = TriangleTarget(surface.vertices.numpy(), surface.triangles.numpy())
    assert target.distance(surface.sample(5000).numpy()).max() < 1e-14


def test_twenty_thousand_points_take_about_a_second():
    surface = cylinder(2.0, 14.0, n_rings=5, n_layers=40).surface
    assert len(surface.triangles) == 2700
    target = TriangleTarget(surface.vertices.numpy(), surface.triangles.numpy())
    points = deform(cylinder(2.0, 14.0, n_rings=4, n_layers=50), Bend(0.01)).surface.sample(20_000).numpy()
    start = time.process_time()
    target.distance(points)
    # 0.3 s on an idle core; brute force over all pairs takes 10 s
    assert time.process_time() - start < 2.0


# ----- d


def test_chamfer_of_concentric_spheres_is_the_difference_of_radii():
    inner, outer = sphere(2.0, resolution=10), sphere(3.0, resolution=10)
    # the flat triangles of 10 layers lie up to 0.02 inside and outside their sphere
    assert chamfer(inner, outer) == pytest.approx(1.0, abs=3e-3)


def test_chamfer_of_shifted_squares_is_the_shift():
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.float64)
    square = Surface(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    above = Surface(corners + torch.tensor([0.0, 0, 0.75]), square.triangles)
    beside = Surface(corners + torch.tensor([0.5, 0, 0]), square.triangles)
    assert chamfer(square, above) == pytest.approx(0.75, abs=1e-14)
    # half of each square lies on the other, the rest at 0 … 0.5 from its edge: ∫₀^½ t dt = 1/8
    # standard deviation 0.16 of the distances over sqrt(40 000) samples, times three
    assert chamfer(square, beside) == pytest.approx(1 / 8, abs=2.4e-3)


def test_chamfer_of_equal_surfaces_has_no_sampling_floor_and_of_equal_points_none_either():
    mesh = chiral()
    assert chamfer(mesh, mesh, n_points=100) < 1e-14
    other = cylinder(1.5, 9.0, n_rings=2, n_layers=5)
    finer = cylinder(1.5, 9.0, n_rings=2, n_layers=11)  # the same prism with other triangles
    assert chamfer(other, finer, n_points=1000) < 1e-14
    assert chamfer(mesh.vertices, mesh.vertices.flip(0)) == 0


def test_chamfer_of_points_is_that_of_the_paper():
    a, b = torch.randn(200, 3), torch.randn(300, 3)
    forth, back = cKDTree(b.numpy()).query(a.numpy())[0], cKDTree(a.numpy()).query(b.numpy())[0]
    assert chamfer(a, b) == pytest.approx(forth.mean() / 2 + back.mean() / 2, rel=1e-6)  # float32 input
    # two samples of one surface: points have a floor, surfaces have not
    surface = chiral().surface
    assert chamfer(surface.sample(2000), surface.sample(2000)) > 0.05
    assert chamfer(surface, surface) < 1e-14


def test_more_samples_change_the_mean_within_its_error():
    a, b = chiral(), cylinder(1.5, 9.0)
    few = [chamfer(a, b, n_points=5000, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    many = chamfer(a, b, n_points=20_000)
    # distances spread by about 1 µm over two stratified samples of 5 000
    assert np.abs(np.array(few) - many).max() < 3 * 1.0 / math.sqrt(5000)
    assert chamfer(a, b) == chamfer(a, b)


# ----- d′


def test_there_are_24_axis_rotations():
    rotations = np.array(axis_rotations())
    assert len(np.unique(rotations, axis=0)) == 24
    assert np.allclose(np.linalg.det(rotations), 1)
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3))


@pytest.mark.parametrize("number", [0, 7, 13, 23])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_d_prime_does_not_see_axis_rotations_inversion_and_position(number, sign):
    mesh = chiral()
    other = moved(mesh, sign * axis_rotations()[number], (3.0, -8.0, 100.0))
    # the box of coordinates near 100 is exact to 1e-14 of them
    assert chamfer_up_to_symmetry(mesh, other, n_points=2000) < 1e-12
    assert chamfer_up_to_symmetry(mesh.vertices, other.vertices) < 1e-12


def test_d_prime_sees_a_mirror_image_and_a_rotation_that_is_not_of_the_axes():
    mesh = chiral()
    turned = Rotation.from_rotvec([0.4, 0.5, -0.3]).as_matrix()
    assert chamfer_up_to_symmetry(mesh, moved(mesh, turned), n_points=2000) > 0.1
    # a mirror image is a rotation of the point reflection, so d′ does not see this one
    mirrored = moved(mesh, np.diag([1.0, 1.0, -1.0]))
    assert chamfer_up_to_symmetry(mesh, mirrored, n_points=2000) < 1e-12


def test_d_prime_is_the_least_over_all_poses():
    a, b = chiral(), deform(cylinder(1.4, 9.5, n_rings=3, n_layers=12), Bend(0.02))
    first, second = ((v - (v.amax(0) + v.amin(0)) / 2).numpy() for v in (a.vertices, b.vertices))
    distances = []
    for Q in [sign * R for R in axis_rotations() for sign in (1, -1)]:
        turned = second @ Q.T
        distances.append(
            cKDTree(turned).query(first)[0].mean() / 2 + cKDTree(first).query(turned)[0].mean() / 2
        )
    expected = min(distances)
    assert chamfer_up_to_symmetry(a.vertices, b.vertices) == pytest.approx(expected, rel=1e-12)


# ----- up to what PGSE cannot tell


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_translation_and_point_reflection_are_not_seen(sign):
    mesh = chiral()
    other = moved(mesh, sign * np.eye(3), (3.0, -8.0, 20.0))
    assert chamfer_up_to_inversion(mesh, other, n_points=2000) < 1e-12


def test_a_rotation_is_seen_though_it_is_one_of_the_axes():
    mesh = chiral()
    quarter = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    assert chamfer_up_to_inversion(mesh, moved(mesh, quarter), n_points=2000) > 0.5


def test_translation_is_refined_from_the_box_centre():
    # a spike moves the centre of the box of one of two equal balls by 1.5 µm, and its surface hardly at all
    ball = sphere(2.0, resolution=6)
    vertices = ball.vertices.clone()
    vertices[vertices[:, 0].argmax(), 0] += 3.0
    spiked = ball.with_vertices(vertices)
    centred = moved(spiked, shift=(-1.5, 0.0, 0.0))
    here, refined = chamfer(ball, spiked), chamfer_up_to_inversion(ball, centred)
    assert chamfer(ball, centred) > 5 * here
    # as good as the balls on top of each other, to the resolution of the 1 000 points that choose the shift
    assert refined < 1.1 * here


# ----- overlap


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5, 2.5])
def test_dice_of_shifted_boxes(shift):
    a = box((2.0, 3.0, 4.0), (2, 3, 4))
    b = moved(box((2.0, 3.0, 4.0), (3, 2, 3)), shift=(shift, 0.0, 0.0))
    # stratified sampling of 20 000 points each: 0.5/sqrt(20 000) = 0.0035 is the bound for independent ones
    assert dice(a, b, n_points=20_000) == pytest.approx(max(0.0, 1 - shift / 2), abs=0.007)


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        (sphere(2.0, resolution=8), sphere(3.0, resolution=9), (2 / 3) ** 3),
        (cylinder(1.0, 6.0), cylinder(2.0, 6.0), 1 / 4),
        (cylinder(2.0, 3.0), cylinder(2.0, 12.0), 1 / 4),
    ],
)
def test_overlap_of_nested_shapes_follows_from_their_volumes(a, b, share):
    expected = 2 * share / (1 + share)
    assert dice(a, b, n_points=20_000) == pytest.approx(expected, abs=0.007)


def test_overlap_of_nested_spheres_is_that_of_concentric_ones_after_alignment():
    inner, outer = sphere(2.0, resolution=5), moved(sphere(3.0, resolution=6), shift=(5.0, 6.0, 7.0))
    share = (2 / 3) ** 3
    aligned = volume_overlap(inner, outer, n_points=20_000)
    assert aligned == pytest.approx(2 * share / (1 + share), abs=0.007)


def test_overlap_of_equal_solids_is_one_after_alignment_only():
    mesh = chiral()
    other = moved(mesh, -np.eye(3), (30.0, 0.0, 0.0))
    assert dice(mesh, other, n_points=2000) == 0
    # aligned to 1e-12 µm, so that a sample in 1e9 could fall outside
    assert volume_overlap(mesh, other, n_points=2000) == 1


# ----- the baseline


def test_a_turned_cylinder_is_its_own_baseline():
    turn = Rotation.from_rotvec([0.4, 1.5, -0.3]).as_matrix()
    mesh = moved(cylinder(2.0, 14.0), turn, (1.0, 2.0, 3.0))
    baseline = cylinder_of_equal_volume(mesh)
    assert float(baseline.volume) == pytest.approx(math.pi * 4 * 14, rel=1e-12)
    assert bool((baseline.volumes > 0).all())
    # the 24-gon and the 36-gon differ by up to 0.02 in radius
    assert chamfer(mesh, baseline) < 0.02


def test_baseline_of_a_bent_tube_has_its_volume_and_extent():
    mesh = deform(cylinder(1.5, 12.0, n_rings=3, n_layers=24), Bend(0.05))
    baseline = cylinder_of_equal_volume(mesh)
    assert float(baseline.volume) == pytest.approx(float(mesh.volume), rel=1e-12)
    axis = baseline.vertices[-1] - baseline.vertices[len(baseline.vertices) // 25 - 1]
    axis = axis / axis.norm()
    extents = [float((m.vertices @ axis).max() - (m.vertices @ axis).min()) for m in (mesh, baseline)]
    assert extents[0] == pytest.approx(extents[1], rel=1e-9)
    # principal axis by sampling the volume
    generator = torch.Generator().manual_seed(0)
    tet = torch.multinomial(mesh.volumes, 200_000, replacement=True, generator=generator)
    weights = -torch.rand(200_000, 4, dtype=torch.float64, generator=generator).log()
    points = ((weights / weights.sum(1, keepdim=True))[:, :, None] * mesh.vertices[mesh.tets[tet]]).sum(1)
    principal = torch.linalg.eigh((points - points.mean(0)).T @ (points - points.mean(0))).eigenvectors[:, 2]
    assert float((principal @ axis).abs()) == pytest.approx(1, abs=1e-5)  # 200 000 samples: 2e-3 rad


# ----- errors


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: chamfer(m, m.vertices), "cannot compare TetMesh with Tensor"),
        (lambda m: chamfer(m.vertices[0], m.vertices), r"points have shape \(3,\)"),
        (lambda m: chamfer_up_to_symmetry(m, m, n_points=0), "n_points is 0"),
        (lambda m: dice(m, m, n_points=0), "n_points is 0"),
        (lambda m: dice(m, m.with_vertices(-m.vertices)), "of the second mesh has the volume -"),
        (lambda m: chamfer(m, Surface(m.vertices, m.tets[:0, :3])), "no triangles"),
    ],
)
def test_misuse_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call(cylinder(1.0, 3.0, n_rings=1, n_layers=2))

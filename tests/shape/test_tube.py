import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from torrey.errors import InputError
from torrey.mesh import tet_volumes, validate
from torrey.shape import Tube
from torrey.shape.base import Extent
from torrey.shape.frame import rotation_minimising_normals
from torrey.shape.spline import greville, refined_count, refinement_matrix, spline_matrix


def fitted(tube, curve, radius):
    """Latent whose spline fits `curve` s ↦ (L, 3) and `radius` s ↦ (L,) at many s in [0, 1]."""
    s = torch.linspace(0, 1, 2000, dtype=torch.float64)
    control = torch.linalg.lstsq(spline_matrix(tube.n_control, s), curve(s)).solution
    log_radius = torch.linalg.lstsq(spline_matrix(tube.n_radius, s), radius(s).log()[:, None]).solution
    return torch.cat([control.ravel(), log_radius.ravel()])


def arc(radius_of_curvature, angle):
    def curve(s):
        return radius_of_curvature * torch.stack([(angle * s).cos(), (angle * s).sin(), 0 * s], dim=1)

    return curve


def constant(value):
    return lambda s: torch.full_like(s, value)


def rate(sizes, errors):
    """Order p of errors ∝ size^-p, by least squares of logarithms."""
    return -np.polyfit(np.log(sizes), np.log(errors), 1)[0]


# ----- splines


@pytest.mark.parametrize("n_control", [4, 5, 9])
@pytest.mark.parametrize("derivative", [0, 1, 2])
def test_splines_reproduce_cubics(n_control, derivative):
    s = torch.linspace(0, 1, 41, dtype=torch.float64)
    cubic = np.polynomial.Polynomial([0.3, -1.2, 2.0, 0.7])
    values = torch.as_tensor(cubic(s.numpy()))
    control = torch.linalg.lstsq(spline_matrix(n_control, s), values[:, None]).solution
    slope = cubic.deriv(derivative) if derivative else cubic
    # second derivatives of n_control = 9 amplify rounding by about (6·6)²
    assert torch.allclose(
        (spline_matrix(n_control, s, derivative=derivative) @ control)[:, 0],
        torch.as_tensor(slope(s.numpy())),
        atol=1e-10,
    )


def test_linear_control_values_at_the_greville_points_give_a_straight_line():
    s = torch.linspace(0, 1, 33, dtype=torch.float64)
    for n_control in (4, 6, 11):
        assert torch.allclose(spline_matrix(n_control, s) @ greville(n_control), s, atol=1e-14)


@pytest.mark.parametrize("n_control", [4, 5, 7, 11])
def test_refinement_is_boehms_knot_insertion(n_control):
    generator = np.random.default_rng(0)
    control = generator.normal(size=n_control)
    inner = np.linspace(0, 1, n_control - 2)
    spline = BSpline(np.r_[[0.0] * 3, inner, [1.0] * 3], control, 3)
    for middle in (inner[1:] + inner[:-1]) / 2:
        spline = spline.insert_knot(middle)
    expected = spline.c[: refined_count(n_control)]
    found = refinement_matrix(n_control) @ torch.as_tensor(control)
    assert np.abs(found.numpy() - expected).max() < 1e-12


def test_too_few_control_points_are_named():
    with pytest.raises(InputError, match="3 control points, expected at least 4"):
        spline_matrix(3, torch.zeros(1))


# ----- frames


def test_frames_of_a_helix_turn_against_its_normal_by_the_torsion():
    """Bishop: a frame of least rotation turns by −∫τ ds in the Frenet frame; of fourth order."""
    a, c, turns = 1.5, 0.7, 1.3
    speed = math.hypot(a, c)
    torsion = c / speed**2
    counts, errors = [20, 40, 80, 160], []
    for n in counts:
        t = torch.linspace(0, 2 * math.pi * turns, n, dtype=torch.float64)
        points = torch.stack([a * t.cos(), a * t.sin(), c * t], dim=1)
        tangents = torch.stack([-a * t.sin(), a * t.cos(), torch.full_like(t, c)], dim=1) / speed
        normals = rotation_minimising_normals(points, tangents)
        frenet = torch.stack([-t.cos(), -t.sin(), torch.zeros_like(t)], dim=1)
        binormal = torch.linalg.cross(tangents, frenet)
        angle = torch.atan2((normals * binormal).sum(1), (normals * frenet).sum(1))
        turned = angle[-1] - angle[0] + torsion * speed * t[-1]
        errors.append(abs(math.remainder(float(turned), 2 * math.pi)))
        assert torch.allclose(normals.norm(dim=1), torch.ones(n, dtype=torch.float64), atol=1e-12)
        assert (normals * tangents).sum(1).abs().max() < 1e-12
    assert rate(np.array(counts) - 1, errors) > 3.8
    assert errors[1] < 1e-3


def test_frames_of_a_plane_curve_stay_in_its_plane():
    t = torch.linspace(0, 2.5, 30, dtype=torch.float64)
    points = torch.stack([t, t.sin(), torch.zeros_like(t)], dim=1)
    tangents = torch.nn.functional.normalize(torch.stack([torch.ones_like(t), t.cos(), 0 * t], dim=1))
    normals = rotation_minimising_normals(points, tangents)
    # the first normal comes from the axis least along the tangent, z
    assert torch.allclose(
        normals, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(30, 3), atol=1e-14
    )


# ----- the tube


def test_a_straight_tube_has_the_volume_and_extent_of_the_cylinder():
    tube = Tube(n_control=6, n_radius=5, n_rings=2, n_layers=9)
    direction = (0.48, 0.6, 0.64)
    latent = tube.straight(length=14.0, radius=2.5, direction=direction)
    mesh = tube.mesh(latent)
    assert float(mesh.volume) == pytest.approx(math.pi * 2.5**2 * 14, rel=1e-13)
    along = mesh.vertices @ torch.tensor(direction, dtype=torch.float64)
    assert [float(along.min()), float(along.max())] == pytest.approx([-7.0, 7.0], rel=1e-12)
    assert mesh.n_vertices == 19 * 10
    assert mesh.n_tets == 3 * 24 * 9
    assert validate(mesh).ok
    assert tube.fold_margin(latent) == pytest.approx(1.0, abs=1e-12)
    assert tube.gauge(latent).abs().max() < 1e-12
    assert tube.roughness(latent).abs().max() < 1e-12
    assert tube.fold_barrier(latent).abs().max() == 0


def test_a_quarter_torus_has_the_volume_of_pappus():
    R, r = 6.0, 2.0
    exact = math.pi * r**2 * R * math.pi / 2
    counts, errors = [4, 8, 16, 32], []
    for n_layers in counts:
        tube = Tube(n_control=12, n_layers=n_layers)
        latent = fitted(tube, arc(R, math.pi / 2), constant(r))
        errors.append(abs(float(tube.mesh(latent).volume) / exact - 1))
    assert rate(counts, errors) > 1.9
    assert errors[-1] < 2e-3


def test_a_sphere_like_profile_has_its_volume_of_revolution():
    """V = π∫r² dz, at second order in the layers."""
    length = 12.0

    def radius(s):
        return 2 + 0.5 * (4 * math.pi * s).sin()

    exact = math.pi * length * (4 + 0.5**2 / 2)
    counts, errors = [16, 32, 64, 128], []
    for n_layers in counts:
        tube = Tube(n_radius=40, n_layers=n_layers, n_rings=1)
        latent = fitted(tube, lambda s: torch.stack([0 * s, 0 * s, length * s], dim=1), radius)
        errors.append(abs(float(tube.mesh(latent).volume) / exact - 1))
    assert rate(counts, errors) > 1.9


def random_latent(tube, seed, *, bend=1.0, bead=0.2):
    generator = torch.Generator().manual_seed(seed)
    latent = tube.straight(length=14.0, radius=1.8, direction=torch.randn(3, generator=generator).tolist())
    n = 3 * tube.n_control
    noise = torch.randn(tube.n_latent, generator=generator, dtype=torch.float64)
    return latent + torch.cat([bend * noise[:n], bead * noise[n:]])


@pytest.mark.parametrize("seed", range(4))
def test_a_turned_latent_gives_the_turned_shape_up_to_roll(seed):
    tube = Tube(n_control=5, n_radius=6, n_rings=2, n_layers=15)
    latent = random_latent(tube, seed)
    turn = torch.as_tensor(Rotation.random(rng=seed).as_matrix())
    shift = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    control, log_radius = tube.split(latent)
    turned = torch.cat([(control @ turn.T + shift).ravel(), log_radius])
    here = (tube.vertices(latent) @ turn.T + shift).view(16, 19, 3)
    there = tube.vertices(turned).view(16, 19, 3)
    # axis points agree, and the spokes at 0° and 90° of every section roll by one angle
    assert torch.allclose(here[:, 0], there[:, 0], atol=1e-12)
    x, y, rolled_x, rolled_y = (
        points[:, corner] - points[:, 0] for points in (here, there) for corner in (7, 10)
    )
    plane = torch.stack([x.ravel(), y.ravel()], dim=1)
    cos, sin = torch.linalg.lstsq(plane, rolled_x.reshape(-1, 1)).solution[:, 0]
    assert float(cos**2 + sin**2) == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(cos * x + sin * y, rolled_x, atol=1e-12)
    assert torch.allclose(cos * y - sin * x, rolled_y, atol=1e-12)
    # of the scalars none sees pose
    assert tube.fold_margin(turned) == pytest.approx(tube.fold_margin(latent), abs=1e-12)
    assert torch.allclose(tube.fold_barrier(turned), tube.fold_barrier(latent), atol=1e-12)
    assert torch.allclose(tube.gauge(turned)[:-3], tube.gauge(latent)[:-3], atol=1e-12)
    norms = [tube.roughness(x).square().sum() for x in (latent, turned)]
    assert torch.allclose(*norms, rtol=1e-12)


@pytest.mark.parametrize(("centreline", "radius"), [(True, False), (False, True), (True, True)])
def test_knot_insertion_leaves_the_shape_unchanged(centreline, radius):
    tube = Tube(n_control=5, n_radius=6)
    latent = random_latent(tube, 0)
    finer, finer_latent = tube.refined(latent, centreline=centreline, radius=radius)
    assert (finer.n_control, finer.n_radius) == (7 if centreline else 5, 9 if radius else 6)
    assert len(finer_latent) == finer.n_latent
    # control points of size 10, so 1e-13 of them
    assert (finer.vertices(finer_latent) - tube.vertices(latent)).abs().max() < 1e-12


@pytest.mark.parametrize("r", [0.5, 2.9, 3.1, 5.0])
def test_fold_margin_of_an_arc_is_one_minus_its_radius_times_its_curvature(r):
    tube = Tube(n_control=16, n_layers=20)
    latent = fitted(tube, arc(3.0, 2.5), constant(r))
    # of a cubic with 13 spans over 2.5 rad: (2.5/13)²/12 = 0.3 % of the circle's curvature, more at the ends
    # the corners of a 12-gon of the circle's area reach past it: area = 6 ρ² sin 30° = π r²
    reach = math.sqrt(math.pi / 3)
    assert tube.fold_margin(latent) == pytest.approx(1 - reach * r / 3, abs=0.02 * r / 3)
    expected = max(0.0, (r / 3) ** 2 - 0.25)
    inner = tube.fold_barrier(latent)[3:-3]
    assert inner.tolist() == pytest.approx([expected] * len(inner), abs=0.02 * (r / 3) ** 2)


@pytest.mark.parametrize("r", [2.0, 2.7, 3.3, 4.0])
def test_tets_are_inverted_exactly_where_the_margin_is_negative(r):
    tube = Tube(n_control=16, n_layers=60)
    latent = fitted(tube, arc(3.0, 2.5), constant(r))
    volumes = tet_volumes(tube.vertices(latent), tube.tets)
    assert bool((volumes > 0).all()) == (tube.fold_margin(latent) > 0) == (r < 3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), bend=st.floats(0.0, 1.5), bead=st.floats(0.0, 0.3))
def test_no_tet_is_inverted_while_the_margin_is_positive(seed, bend, bead):
    tube = Tube(n_control=5, n_radius=5, n_rings=1, n_layers=150)
    latent = random_latent(tube, seed, bend=bend, bead=bead)
    volumes = tet_volumes(tube.vertices(latent), tube.tets)
    margin = tube.fold_margin(latent)
    # the hexagon of the disc's area reaches out to 1.0996 r: its corners fold below 1 − 1/1.0996 = 0.09
    if margin > 0.1:
        assert bool((volumes > 0).all())
    if margin < -0.2:
        assert bool((volumes < 0).any())


def test_random_latents_of_that_test_fold_and_do_not_fold():
    tube = Tube(n_control=5, n_radius=5, n_rings=1, n_layers=150)
    margins = [tube.fold_margin(random_latent(tube, seed, bend=1.5)) for seed in range(30)]
    assert min(margins) < -0.2
    assert max(margins) > 0.1


def test_vertices_and_residuals_pass_gradcheck_in_both_modes():
    tube = Tube(n_control=4, n_radius=4, n_rings=1, n_layers=4)
    # a hairpin, bent so sharply that the barrier is not zero
    control = torch.tensor([[0.0, 0.1, 0], [0, 0, 3], [3, 0.2, 3], [3, 0, 0.3]], dtype=torch.float64)
    latent = torch.cat([control.ravel(), torch.tensor([0.1, 0.0, -0.2, 0.2])]).requires_grad_()
    assert (tube.fold_barrier(latent) > 0).any()
    assert torch.autograd.gradcheck(tube.vertices, (latent,), check_forward_ad=True)
    # roughness holds its diameters fixed in the derivative, so it is not among these
    for residual in (tube.gauge, tube.fold_barrier):
        assert torch.autograd.gradcheck(residual, (latent,), check_forward_ad=True)


def test_nothing_is_nan_on_a_straight_tube():
    tube = Tube()
    latent = tube.straight(length=10.0, radius=2.0)
    for f in (tube.vertices, tube.gauge, tube.roughness, tube.fold_barrier):
        for jacobian in (torch.func.jacfwd, torch.func.jacrev):
            assert torch.isfinite(jacobian(f)(latent)).all()


def test_position_and_speed_are_in_the_gauge_and_sliding_points_change_nothing_else():
    tube = Tube(n_control=8)
    shift = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    latent = tube.straight(length=10.0, radius=2.0)
    control, log_radius = tube.split(latent)
    moved = torch.cat([(control + shift).ravel(), log_radius])
    assert torch.allclose(tube.gauge(moved)[-3:], shift, atol=1e-12)
    # z = 10(s² + s)/2 − 5 has the speed 10(s + ½), relative to its mean over the layers s + ½
    s = torch.linspace(0, 1, tube.n_layers + 1, dtype=torch.float64)
    slid = fitted(tube, lambda s: torch.stack([0 * s, 0 * s, 5 * (s * s + s) - 5], dim=1), constant(2.0))
    uneven = tube.gauge(slid)[:-3]
    assert torch.allclose(uneven / uneven[-1], 2 * s - 1, atol=1e-9)
    assert float(uneven[-1]) > 0.1
    assert float(tube.mesh(slid).volume) == pytest.approx(math.pi * 4 * 10, rel=1e-9)


def test_roughness_of_an_arc_and_of_a_cone():
    """Σ = Σ over diameters of (r κ / 0.3)² and of (dr/ds / 0.3)²."""
    tube = Tube(n_control=16, n_radius=30, n_layers=200)
    r, R, angle = 1.5, 5.0, 2.0
    bent = fitted(tube, arc(R, angle), constant(r))
    expected = (R * angle / (2 * r)) * (r / R / 0.3) ** 2
    # the spline's ends are rougher than the arc by a few percent
    assert float(tube.roughness(bent).square().sum()) == pytest.approx(expected, rel=0.03)
    cone = fitted(tube, lambda s: torch.stack([0 * s, 0 * s, 12 * s], dim=1), lambda s: 1 + 1.2 * s)
    expected = 12 / (2 * 1.6) * (0.1 / 0.3) ** 2
    assert float(tube.roughness(cone).square().sum()) == pytest.approx(expected, rel=0.02)


def test_the_latent_of_a_tube_is_found_from_its_vertices():
    """A beaded arc at even speed comes back; uneven speed gives the same curve."""
    tube = Tube(n_control=11, n_radius=11, n_layers=60)
    beaded = fitted(tube, arc(8.0, 1.5), lambda s: 1.2 + 0.3 * (6 * s).sin())
    found = tube.latent_of(tube.vertices(beaded))
    # chords are shorter than arcs by h²κ²/24, unevenly where the spline is not quite an arc
    assert torch.allclose(found, beaded, atol=2e-4)
    slid = fitted(tube, lambda s: torch.stack([0 * s, 0 * s, 5 * (s * s + s) - 5], dim=1), constant(2.0))
    even = tube.latent_of(tube.vertices(slid))
    assert tube.gauge(even)[:-3].abs().max() < 1e-6
    assert float(tube.mesh(even).volume) == pytest.approx(math.pi * 4 * 10, rel=1e-9)
    with pytest.raises(InputError, match=r"vertices have shape \(9, 3\), expected \(1159, 3\)"):
        tube.latent_of(torch.zeros(9, 3))


def test_initial_is_straight_along_the_extent_or_bent_at_random():
    tube = Tube(n_control=6)
    axis = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    extent = Extent(12.0, 1.5, axis)
    plain = tube.initial(extent, generator=None)
    assert torch.equal(plain, tube.straight(length=12.0, radius=1.5, direction=axis))
    bent = [tube.initial(extent, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(bent[0], bent[1])
    assert not torch.allclose(bent[0], bent[2])
    offset = (tube.split(bent[0])[0] - tube.split(plain)[0]) @ axis
    assert offset.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_control": 3}, "n_control is 3, expected at least 4"),
        ({"n_radius": 2}, "n_radius is 2, expected at least 4"),
        ({"n_rings": 0}, "n_rings is 0, expected at least 1"),
        ({"n_layers": 0}, "n_layers is 0, expected at least 1"),
    ],
)
def test_settings_that_make_no_tube_are_named(options, words):
    with pytest.raises(InputError, match=words):
        Tube(**options)


def test_a_latent_of_the_wrong_length_is_named():
    with pytest.raises(InputError, match=r"latent has shape \(3,\), expected \(52,\)"):
        Tube().vertices(torch.zeros(3))

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from torrey.autodiff import jacobian
from torrey.errors import InputError
from torrey.mesh import Bead, Bend, Compose, Fan, Twist, polygon, prism, tet_volumes, validate
from torrey.shape import Extent, Sweep, pretrained
from torrey.shape.families import Beads, BendTwist, Fans
from torrey.shape.sweep.channels import (
    N_COEFFICIENTS,
    N_CONTROL,
    from_coefficients,
    from_sections,
    observed,
    steepest_turn,
)
from torrey.shape.sweep.training import round_trip_errors, train_sweep
from torrey.shape.sweep.window import LAYERS, fit_of_channels, window

FAMILIES = {"bend": BendTwist(), "bead": Beads(), "fan": Fans()}
FIGURE = polygon(12)[0]


def held_out(name, count):
    """Canonical shapes that no training saw: even counts of beads, even angles of fans."""
    family = FAMILIES[name]
    indices = family.split("test")
    return [family.sample(indices[73 * i]).canonical for i in range(count)]


def coefficients_of(vertices):
    sections = vertices.view(LAYERS + 1, -1, 3)
    return fit_of_channels() @ observed(from_sections(sections, FIGURE))


def fine(*steps, scale=(1.3, 0.6, 0.9)):
    return Compose(*steps)(prism(n_layers=LAYERS).vertices) * torch.tensor(scale, dtype=torch.float64)


@pytest.fixture(scope="module")
def mixed():
    return pretrained("sweep", "mixed")


def random_latents(model, count, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, model.n_latent, generator=generator, dtype=torch.float64)


# ----- channels


@pytest.mark.parametrize(
    "steps",
    [
        (Bend(0.5), Twist(0.5)),
        (Twist(0.4), Bend(0.3)),
        (Bead(0.4, 8),),
        (Bead(0.35, 5), Twist(0.5), Bend(0.1)),
        (Fan(60.0),),
    ],
)
def test_the_families_are_exact_in_channels(steps):
    target = fine(*steps)
    found = from_coefficients(coefficients_of(target), LAYERS).sections(FIGURE).reshape(-1, 3)
    # splines hold sin(16πs) within 0.0014 of its amplitude 0.4 · 3 µm · 1.3, the others to rounding of 100 µm
    beads = any(isinstance(step, Bead) and step.count == 8 for step in steps)
    assert (found - target).norm(dim=1).mean() < (2e-3 if beads else 2e-4)


def test_any_coefficients_make_upright_tets():
    generator = torch.Generator().manual_seed(0)
    template = prism()
    for size in (1.0, 10.0, 100.0):
        for _ in range(50):
            coefficients = size * torch.randn(N_COEFFICIENTS, generator=generator, dtype=torch.float64)
            coefficients[-3:] /= size
            channels = from_coefficients(coefficients, 20)
            assert (channels.radius > 0).all()
            assert channels.turn.abs().max() <= steepest_turn(20)
            assert (tet_volumes(channels.sections(FIGURE).reshape(-1, 3), template.tets) > 0).all()


def test_a_part_of_a_beaded_axon_is_a_beaded_axon():
    """Two fifths of five beads are two, and eight sevenths of seven are eight: the sine goes on."""
    for count, length, expected in ((5, 0.4, 2), (7, 8 / 7, 8)):
        part = window(coefficients_of(fine(Bead(0.35, count))), 0.0, length)
        found = from_coefficients(part, 20).sections(FIGURE).reshape(-1, 3)
        target = Bead(0.35, expected)(prism().vertices) * torch.tensor((1.3, 0.6, 0.9), dtype=torch.float64)
        assert (found - target).norm(dim=1).mean() < 5e-3


def test_a_part_of_a_bent_axon_is_the_part_of_its_parabola():
    part = window(coefficients_of(fine(Bend(0.5), scale=(1, 1, 1))), 0.5, 0.5)
    sections = from_coefficients(part, 20).sections(FIGURE)
    s = torch.linspace(0.5, 1, 21, dtype=torch.float64)
    parabola = 30 * 0.5 * 6 * s**2
    assert torch.allclose(sections.mean(1)[:, 0], parabola - parabola.mean(), atol=1e-5)
    assert torch.allclose(sections[..., 2].mean(1), 9 * torch.linspace(-0.5, 0.5, 21, dtype=torch.float64))


# ----- the model


@pytest.mark.parametrize(("name", "bar"), [("bend", 0.01), ("bead", 0.05), ("fan", 0.01)])
@pytest.mark.parametrize("own", [True, False])
def test_held_out_shapes_come_back(name, bar, own, mixed):
    model = pretrained("sweep", name) if own else mixed
    assert model.n_latent <= 48
    assert round_trip_errors(model, held_out(name, 10)).mean() <= bar


@pytest.mark.parametrize(("reach", "count"), [(1.0, 10_000), (3.0, 1_000)])
def test_no_random_latent_inverts_a_tet(reach, count, mixed):
    """10 000 on the template, within the range of training and three times as far."""
    latents = reach * random_latents(mixed, count)
    for chunk in latents.split(1000):
        vertices = torch.func.vmap(mixed.vertices)(chunk)
        a, b, c, d = vertices[:, mixed.tets].unbind(2)
        assert ((torch.linalg.cross(b - a, c - a) * (d - a)).sum(2) > 0).all()
    assert min(mixed.fold_margin(z) for z in latents[:20]) > 0


@pytest.mark.parametrize("mesh", [{"n_layers": 60, "n_rings": 3}, {"n_layers": 40, "n_sides": 24}])
def test_no_random_latent_inverts_a_tet_of_a_finer_mesh(mesh, mixed):
    model = mixed.with_resolution(**mesh)
    for z in 3 * random_latents(mixed, 40):
        assert (tet_volumes(model.vertices(z), model.tets) > 0).all()
    assert validate(model.mesh(random_latents(mixed, 1)[0])).ok


@pytest.mark.parametrize("n_sides", [12, 24, 48])
def test_layers_fold_when_they_turn_by_the_angle_that_is_allowed(n_sides, mixed):
    points, _ = polygon(n_sides)
    allowed = mixed.with_resolution(n_layers=20, n_sides=n_sides)._narrowest_angle
    tets = prism(n_sides=n_sides, n_layers=1).tets
    z = torch.arange(2.0, dtype=torch.float64).repeat_interleave(len(points))

    def smallest(angle):
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        ).double()
        return float(
            tet_volumes(torch.cat([torch.cat([points, points @ turn.T]), z[:, None]], dim=1), tets).min()
        )

    assert min(smallest(0.99 * allowed), smallest(-0.99 * allowed)) > 0
    assert min(smallest(1.01 * allowed), smallest(-1.01 * allowed)) < 0


def test_the_fold_margin_is_that_of_the_largest_turn(mixed):
    """A twist of 0.5 rad over 20 layers of a 12-gon, whose inner triangles have 48.3° and more."""
    twisted = mixed.latent_of(Twist(0.5)(prism().vertices))
    assert mixed.fold_margin(twisted) == pytest.approx(1 - 0.5 / 20 / math.radians(48.3), abs=2e-3)


def test_derivatives_agree_with_central_differences(mixed):
    z, step = random_latents(mixed, 1, seed=3)[0], 1e-5
    for model in (mixed, mixed.with_resolution(n_layers=12, n_rings=2)):
        slope = jacobian(model.vertices, z)
        for k in (0, 7, mixed.n_latent - 1):
            apart = torch.zeros_like(z).index_fill_(0, torch.tensor(k), step)
            difference = (model.vertices(z + apart) - model.vertices(z - apart)) / (2 * step)
            # third derivatives over step² and rounding of 100 µm over the step
            assert torch.allclose(slope[k], difference, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("mesh", [{"n_layers": 20, "n_sides": 12}, {"n_layers": 50, "n_rings": 2}])
def test_the_latent_of_a_shape_is_found(mesh, mixed):
    model = mixed.with_resolution(**mesh)
    for z in 0.5 * random_latents(mixed, 3):
        found = model.latent_of(model.vertices(z))
        assert (model.vertices(found) - model.vertices(z)).norm(dim=1).mean() < 1e-3


def test_a_latent_is_one_surface_at_every_resolution(mixed):
    """Corners of the template are among those of meshes with more of them; discs lie between."""
    z = mixed.latent_of(held_out("bend", 1)[0])
    own = mixed.vertices(z).view(21, -1, 3)
    # where no cross-section is given it stays
    assert (mixed.with_resolution(n_layers=40).vertices(z).view(41, -1, 3)[::2] - own).abs().max() < 1e-4
    finer = mixed.with_resolution(n_layers=40, n_sides=24).vertices(z).view(41, -1, 3)
    assert (own[:, :12] - finer[::2, :24:2]).abs().max() < 1e-4
    volumes = [
        float(mixed.with_resolution(n_layers=n, n_rings=3).mesh(z).volume.detach()) for n in (20, 40, 80)
    ]
    corners = mixed.with_resolution(n_layers=80, n_sides=48)
    # 48 sides have sin(2π/48)/(2π/48) of the circle's area
    assert volumes[2] == pytest.approx(float(corners.mesh(z).volume) / np.sinc(1 / 24), rel=2e-4)
    # no mean error of chords, so that fewer layers have the volume as well
    assert volumes[0] == pytest.approx(volumes[2], rel=2e-3)
    disc = mixed.with_resolution(n_layers=80, n_rings=4).vertices(z)
    apart, _ = cKDTree(disc.numpy()).query(own.reshape(-1, 3).numpy())
    radius = float((own[0, 0] - own[0, 6]).norm() / 2)
    assert apart.mean() < radius / 4


def test_starts_have_the_extent(mixed):
    extent = Extent(11.0, 1.7, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    straight = mixed.mesh(mixed.initial(extent, generator=None))
    # an axon as thin as this is not among those learned
    assert float(straight.volume) == pytest.approx(math.pi * 1.7**2 * 11, rel=0.02)
    assert torch.allclose(straight.vertices.mean(0), torch.zeros(3, dtype=torch.float64), atol=0.05)
    codes = [mixed.initial(extent, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.allclose(codes[0], codes[1], atol=1e-8)
    assert not torch.allclose(codes[0], codes[2])
    heights = mixed.vertices(codes[2])[:, 2]
    assert float(heights.max() - heights.min()) == pytest.approx(11, rel=0.02)


def test_the_prior_is_that_of_whitened_latents(mixed):
    z = random_latents(mixed, 1)[0]
    assert torch.equal(mixed.roughness(z), z)
    assert len(mixed.gauge(z)) == len(mixed.fold_barrier(z)) == 0
    assert 0.2 < mixed.codes.square().mean() < 2


def test_training_repeats_itself_and_is_for_its_family(tmp_path):
    settings = {"n_shapes": 10, "n_held_out": 1, "n_codes": 4, "tolerance": 0.01}
    first, second = (train_sweep(Fans(), seed=3, **settings) for _ in range(2))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.basis, second.basis)
    # LAPACK's least squares depend on where arrays lie in memory, by rounding
    assert torch.allclose(first.codes, second.codes, atol=1e-8)
    assert round_trip_errors(first, held_out("fan", 3)).mean() < 0.05
    first.save(tmp_path / "fan.safetensors")
    again = Sweep.load(tmp_path / "fan.safetensors")
    assert torch.equal(again.basis, first.basis.float().double())
    assert again.about["family"] == "fan"


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        ({"n_layers": 3, "n_sides": 12}, "n_layers is 3, expected at least 4"),
        ({"n_layers": 12, "n_sides": 48}, "n_layers is 12, expected at least 13"),
        (
            {"n_layers": 20, "n_sides": 12, "n_rings": 2},
            "n_sides is 12 and n_rings is 2, expected one of them",
        ),
    ],
)
def test_meshes_that_could_fold_are_named(mesh, words, mixed):
    with pytest.raises(InputError, match=words):
        mixed.with_resolution(**mesh)


def test_a_sweep_needs_a_cross_section(mixed):
    with pytest.raises(InputError, match="n_sides is None and n_rings is None, expected one of them"):
        replace(mixed, n_sides=None)


def test_wrong_lengths_are_named(mixed):
    with pytest.raises(InputError, match=r"latent has shape \(3,\), expected"):
        mixed.vertices(torch.zeros(3))
    with pytest.raises(InputError, match=r"vertices have shape \(9, 3\), expected \(315, 3\)"):
        mixed.latent_of(torch.zeros(9, 3))
    with pytest.raises(InputError, match="mean, basis and codes have shapes"):
        Sweep(mean=torch.zeros(N_CONTROL), basis=mixed.basis, codes=mixed.codes)

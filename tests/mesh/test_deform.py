import math

import numpy as np
import pytest
import torch
from mesh_shapes import SPINDOCTOR_MESHES

from torrey.errors import InputError, MeshError
from torrey.mesh import Bead, Bend, Compose, Fan, TetMesh, Twist, cylinder, deform, validate


def tube():
    return cylinder(3.0, 9.0, n_rings=3, n_layers=12)


def test_bend_moves_the_top_by_thirty_amounts_of_the_width():
    mesh = tube()
    x, _, z = mesh.vertices.T
    width = float(x.max() - x.min())
    bent = deform(mesh, Bend(0.1)).vertices
    assert (bent[:, 0] - x)[z == 4.5].tolist() == pytest.approx([3 * width] * 37)
    assert (bent[:, 0] - x)[z == -4.5].abs().max() == 0
    assert (bent[:, 0] - x)[z.abs() < 1e-12].tolist() == pytest.approx([3 * width / 4] * 37)
    assert torch.equal(bent[:, 1:], mesh.vertices[:, 1:])
    # a shear leaves every volume as it was; volumes are differences of coordinates up to 20
    assert torch.allclose(deform(mesh, Bend(0.1)).volumes, mesh.volumes, rtol=1e-11)


def test_twist_is_a_rotation_of_each_cross_section():
    mesh = tube()
    angle = 0.5
    twisted = Twist(angle)(mesh.vertices)
    flat, turned = (torch.view_as_complex(v[:, :2].contiguous()) for v in (mesh.vertices, twisted))
    expected = flat * torch.exp(1j * angle * (mesh.vertices[:, 2] + 4.5) / 9)
    assert torch.allclose(turned, expected, atol=1e-13)
    assert torch.equal(twisted[:, 2], mesh.vertices[:, 2])


def test_twist_turns_about_the_centre_of_the_bounding_box():
    shift = torch.tensor([100.0, -50.0, 7.0])
    mesh = tube()
    assert torch.allclose(Twist(1.0)(mesh.vertices + shift), Twist(1.0)(mesh.vertices) + shift, atol=1e-12)


def test_bead_has_the_volume_of_the_beaded_cylinder():
    mesh = cylinder(2.0, 12.0, n_rings=2, n_layers=240)
    beaded = deform(mesh, Bead(0.4, 3))
    # ∫(1 + A sin)² = 1 + A²/2 over whole periods; the slope error of 80 layers a period is below 1e-3
    assert float(beaded.volume / mesh.volume) == pytest.approx(1 + 0.4**2 / 2, rel=1e-3)
    first = (mesh.vertices[:, 2] + 6 - 1).abs() < 1e-9  # a quarter of a period of 4
    ratio = beaded.vertices[first, :2].norm(dim=1)[1:] / mesh.vertices[first, :2].norm(dim=1)[1:]
    assert ratio.tolist() == pytest.approx([1.4] * len(ratio))


@pytest.mark.parametrize("angle", [0.0, 32.0, 60.0, 89.0])
def test_fan_tilts_the_outermost_lines_by_the_angle_and_does_not_fold(angle):
    mesh = tube()
    fanned = deform(mesh, Fan(angle))
    assert validate(fanned).ok
    n = 37
    outer = torch.arange(19, n)
    line = fanned.vertices[-n:][outer] - fanned.vertices[:n][outer]
    tilt = torch.rad2deg(torch.atan2(line[:, :2].norm(dim=1), line[:, 2]))
    assert tilt.tolist() == pytest.approx([angle] * 18, abs=1e-9)
    axis = fanned.vertices[0::n]
    assert axis[:, :2].abs().max() < 1e-12


def test_compose_applies_the_first_step_first():
    vertices = tube().vertices
    steps = Bend(0.05), Twist(0.7), Bead(0.2, 2)
    assert torch.equal(Compose(*steps)(vertices), steps[2](steps[1](steps[0](vertices))))
    assert torch.equal(Compose()(vertices), vertices)


@pytest.mark.parametrize(
    ("make", "values"),
    [(Bend, [0.3]), (Twist, [0.5]), (Bead, [0.3, 2.0]), (Fan, [40.0])],
)
def test_parameters_and_vertices_pass_gradcheck(make, values):
    # random vertices have one highest and one lowest each way, so extents are differentiable
    vertices = torch.randn(
        6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    parameters = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    assert torch.autograd.gradcheck(lambda v, *p: make(*p)(v), (vertices, *parameters))


def test_gradients_flow_through_a_composition_to_a_mesh():
    amount = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    mesh = deform(tube(), Bead(0.3, 2), Bend(amount))
    (gradient,) = torch.autograd.grad(mesh.vertices[:, 0].sum(), amount)
    z, x = mesh.vertices[:, 2], Bead(0.3, 2)(tube().vertices)[:, 0]
    expected = (30 * (x.max() - x.min()) * ((z + 4.5) / 9) ** 2).sum()
    assert float(gradient) == pytest.approx(float(expected.detach()), rel=1e-12)


def test_a_deformation_that_folds_is_refused():
    with pytest.raises(MeshError, match=r"deform: \d+ of 1944 tets are inverted \(first: tet \d+\)"):
        deform(tube(), Twist(40.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fan(90), "angle is 90"),
        (lambda: Fan(-1), "angle is -1"),
        (lambda: Bead(1.0, 2), "amplitude is 1"),
        (lambda: Bead(math.nan, 2), "amplitude is nan"),
    ],
)
def test_parameters_that_must_fold_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("name", "angle", "n_inverted"),
    [("bent_twisted", 1.0, 0), ("folded", 4 * math.pi / 3, 6)],
)
def test_bend_and_twist_are_those_of_spindoctor(name, angle, n_inverted):
    mesh = TetMesh(SPINDOCTOR_MESHES["straight"], SPINDOCTOR_MESHES["cylinder_tets"])
    steps = Bend(0.05, origin=0.0), Twist(angle, origin=0.0)
    moved = mesh.with_vertices(Compose(*steps)(mesh.vertices))
    assert np.abs(moved.vertices.numpy() - SPINDOCTOR_MESHES[name]).max() < 1e-12
    assert len(validate(moved).inverted) == n_inverted
    if n_inverted:
        with pytest.raises(MeshError, match="6 of 1131 tets are inverted"):
            deform(mesh, *steps)

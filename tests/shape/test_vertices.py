import math

import numpy as np
import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import TetMesh, cylinder, validate
from torrey.mesh.quality import edges
from torrey.shape.base import Extent
from torrey.shape.vertices import Vertices


def shape(smoothing=16.0):
    return Vertices(template=cylinder(3.0, 9.0, n_rings=1, n_layers=3), smoothing=smoothing)


def random_latent(model, *, size=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(model.n_latent, generator=generator, dtype=torch.float64)


def dense_laplacian(model):
    n = model.template.n_vertices
    L = np.zeros((n, n))
    for i, j in edges(model.tets).tolist():
        L[i, i] += 1
        L[j, j] += 1
        L[i, j] -= 1
        L[j, i] -= 1
    return L


def test_zero_is_the_template_and_displacement_solves_the_smoothing_equation():
    model = shape()
    zero = torch.zeros(model.n_latent, dtype=torch.float64)
    assert torch.equal(model.vertices(zero), model.template.vertices)
    u = random_latent(model)
    matrix = np.eye(model.template.n_vertices) + 16.0 * dense_laplacian(model)
    expected = np.linalg.solve(matrix, u.view(-1, 3).numpy())
    assert np.abs(model.displacement(u).numpy() - expected).max() < 1e-13


def test_every_displacement_can_be_reached():
    model = shape()
    target = model.template.vertices + random_latent(model, seed=1).view(-1, 3)
    assert torch.allclose(model.vertices(model.latent_of(target)), target, atol=1e-12)


def test_a_translation_passes_unchanged_and_a_spike_is_spread():
    model = shape()
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = model.displacement(shift.repeat(model.template.n_vertices))
    # L annihilates constants
    assert torch.allclose(moved, shift.expand_as(moved), atol=1e-12)
    assert torch.allclose(model.gauge(shift.repeat(model.template.n_vertices)), shift, atol=1e-12)
    assert model.roughness(shift.repeat(model.template.n_vertices)).abs().max() < 1e-12
    spike = torch.zeros(model.n_latent, dtype=torch.float64)
    spike[0] = 1.0
    spread = [float(shape(a).displacement(spike)[0, 0]) for a in (0.1, 1.0, 10.0, 100.0)]
    assert spread == sorted(spread, reverse=True)
    # what a spike puts in stays in, on average
    assert float(model.displacement(spike).sum()) == pytest.approx(1.0, rel=1e-12)


def test_roughness_is_the_laplacian_of_the_displacement():
    model = shape()
    u = random_latent(model)
    laplacian = dense_laplacian(model) @ model.displacement(u).numpy()
    start, end = model.template.vertices[edges(model.tets)].unbind(1)
    scale = float((end - start).norm(dim=1).mean()) * math.sqrt(model.template.n_vertices)
    assert np.abs(model.roughness(u).view(-1, 3).numpy() - laplacian / scale).max() < 1e-13


def test_gradcheck_in_reverse_and_forward_mode():
    model = shape()
    u = random_latent(model).requires_grad_()
    assert torch.autograd.gradcheck(model.vertices, (u,), check_forward_ad=True)
    v = random_latent(model, size=40.0, seed=3).requires_grad_()

    def residuals(x):
        return torch.cat([model.gauge(x), model.roughness(x), model.fold_barrier(x)])

    assert torch.autograd.gradcheck(residuals, (v,), check_forward_ad=True)
    assert (model.fold_barrier(v) > 0).any()
    assert torch.autograd.gradgradcheck(lambda x: model.vertices(x).square().sum(), (v,))


def test_jacobians_of_both_modes_are_the_inverse_matrix():
    model = shape()
    n = model.template.n_vertices
    u = random_latent(model)
    expected = np.kron(np.linalg.inv(np.eye(n) + 16.0 * dense_laplacian(model)), np.eye(3))
    for jacobian in (torch.func.jacfwd, torch.func.jacrev):
        # a new model each time: its factor must not depend on being made outside the transform
        J = jacobian(shape().vertices)(u).reshape(3 * n, 3 * n)
        assert np.abs(J.numpy() - expected).max() < 1e-13


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_fold_margin_does_not_see_size(factor):
    model = shape()
    larger = model.latent_of(factor * model.template.vertices)
    assert model.fold_margin(larger) == pytest.approx(1.0, rel=1e-12)
    assert model.fold_barrier(larger).abs().max() == 0


def test_fold_margin_and_barrier_follow_the_flattest_tet():
    model = shape()
    base = model.template
    # the top of the axis sinks towards the layer below it, 3 µm down
    top = int(((base.vertices[:, :2].norm(dim=1) < 1e-9) & (base.vertices[:, 2] > 4.4)).nonzero())
    for depth in (1.0, 2.5, 2.9, 3.1, 4.0):
        vertices = base.vertices.clone()
        vertices[top, 2] -= depth
        latent = model.latent_of(vertices)
        moved = TetMesh(base.vertices, base.tets).with_vertices(vertices)
        ratios = moved.volumes / base.volumes * (base.volume / moved.volume)
        assert model.fold_margin(latent) == pytest.approx(float(ratios.min()), abs=1e-12)
        assert (model.fold_margin(latent) > 0) == (depth < 3) == validate(moved).ok
        assert model.fold_barrier(latent).max() == pytest.approx(
            max(0.0, 0.5 - float(ratios.min())), abs=1e-12
        )


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_initial_has_the_volume_and_axis_of_the_extent(seed):
    model = Vertices(template=cylinder(3.0, 9.0, n_rings=2, n_layers=8))
    axis = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    latent = model.initial(Extent(15.0, 2.0, axis), generator=generator)
    mesh = model.mesh(latent)
    # bending shears, and a shear keeps volumes; principal axes of symmetric shapes are found to 1e-6
    assert float(mesh.volume) == pytest.approx(math.pi * 4 * 15, rel=1e-5)
    assert model.fold_margin(latent) == pytest.approx(1.0, abs=1e-9)
    along = mesh.vertices @ axis
    assert float(along.max() - along.min()) == pytest.approx(15.0, rel=1e-6)
    across = mesh.vertices - along[:, None] * axis
    straight = float(across.norm(dim=1).max()) < 2.2
    assert straight == (seed is None)


@pytest.mark.parametrize("smoothing", [0.0, -1.0, math.nan, math.inf])
def test_smoothing_must_be_positive(smoothing):
    with pytest.raises(InputError, match="smoothing is"):
        shape(smoothing)


def test_misuse_is_named():
    template = cylinder(3.0, 9.0, n_rings=1, n_layers=3)
    vertices = template.vertices.clone()
    vertices[-7, 2] -= 4.0
    with pytest.raises(InputError, match=r"tet \d+ of the template has the volume -.* expected positive"):
        Vertices(template=template.with_vertices(vertices))
    with pytest.raises(InputError, match=r"latent has shape \(5,\), expected \(84,\)"):
        shape().vertices(torch.zeros(5))

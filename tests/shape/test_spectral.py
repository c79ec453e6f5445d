import math

import numpy as np
import pytest
import torch
from bent_prisms import TEMPLATE
from scipy.linalg import eigh

from torrey.autodiff import jacobian
from torrey.errors import InputError
from torrey.mesh.quality import edges
from torrey.shape import Extent, Spectral, Vertices


def dense_laplacian(mesh):
    L = np.zeros((mesh.n_vertices, mesh.n_vertices))
    for i, j in edges(mesh.tets).tolist():
        L[[i, j], [i, j]] += 1
        L[[i, j], [j, i]] -= 1
    return L


def random_latent(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(model.n_latent, generator=generator, dtype=torch.float64)


def test_shapes_span_the_lowest_eigenvectors():
    model, count = Spectral(template=TEMPLATE, n_modes=10), TEMPLATE.n_vertices
    _, vectors = eigh(dense_laplacian(TEMPLATE), subset_by_index=(0, 9))
    J = jacobian(model.vertices, torch.zeros(30, dtype=torch.float64)).flatten(1).numpy()
    # the projector is one even where eigenvalues are equal
    expected = np.kron(vectors @ vectors.T, np.eye(3))
    assert np.abs(J.T @ J / count - expected).max() < 1e-12


def test_zero_is_the_template_and_all_modes_reach_everything():
    model = Spectral(template=TEMPLATE, n_modes=TEMPLATE.n_vertices)
    zero = torch.zeros(model.n_latent, dtype=torch.float64)
    assert torch.equal(model.vertices(zero), TEMPLATE.vertices)
    target = TEMPLATE.vertices + random_latent(model).view(-1, 3)
    assert torch.allclose(model.vertices(model.latent_of(target)), target, atol=1e-12)


def test_latent_comes_back_and_measures_the_displacement():
    model = Spectral(template=TEMPLATE, n_modes=12)
    latent = random_latent(model)
    moved = model.vertices(latent)
    assert torch.allclose(model.latent_of(moved), latent, atol=1e-13)
    rms = float((moved - TEMPLATE.vertices).square().sum(1).mean().sqrt())
    assert rms == pytest.approx(float(latent.norm()), rel=1e-12)
    mean = (moved - TEMPLATE.vertices).mean(0)
    # the sign of the constant mode is fixed: its largest component is positive
    assert torch.allclose(model.gauge(latent), mean, atol=1e-12)


def test_roughness_is_that_of_free_vertices():
    model, free = Spectral(template=TEMPLATE, n_modes=12), Vertices(template=TEMPLATE)
    latent = random_latent(model)
    same = free.roughness(free.latent_of(model.vertices(latent)))
    assert float(model.roughness(latent).norm()) == pytest.approx(float(same.norm()), rel=1e-9)


def test_start_has_the_size_of_the_extent():
    model = Spectral(template=TEMPLATE, n_modes=TEMPLATE.n_vertices)
    extent = Extent(12.0, 2.0, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    for generator in (None, torch.Generator().manual_seed(0)):
        latent = model.initial(extent, generator=generator)
        mesh = model.mesh(latent)
        assert float(mesh.volume) == pytest.approx(math.pi * 4 * 12, rel=1e-9 if generator is None else 0.05)
        assert mesh.vertices.mean(0).abs().max() < 1e-9
        assert model.fold_margin(latent) > 0.5


def test_number_of_modes_is_checked():
    with pytest.raises(InputError, match="count is 0, expected 1 to 75"):
        Spectral(template=TEMPLATE, n_modes=0)

import math

import numpy as np
import pytest
import torch
from bent_prisms import TEMPLATE, bent

from torrey.autodiff import jacobian
from torrey.errors import InputError
from torrey.mesh import tet_volumes
from torrey.shape import PCA, Extent
from torrey.shape.training import fewest_modes, fit_pca, round_trip_errors


@pytest.fixture(scope="module")
def shapes():
    return bent(60)


def test_modes_are_the_singular_vectors_that_numpy_finds(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=6)
    flat = shapes.flatten(1).numpy()
    _, values, vectors = np.linalg.svd(flat - flat.mean(0))
    expected = vectors[:6] * values[:6, None] / math.sqrt(len(flat))
    modes = model.modes.flatten(1).numpy()
    # a singular vector's sign is free
    signs = np.sign((modes * expected).sum(1, keepdims=True))
    # eigenvectors of a covariance lose half the digits of the ratio of the widest to the last, 1e3 here
    assert np.abs(modes - signs * expected).max() < 1e-8
    assert np.abs(model.mean.numpy().ravel() - flat.mean(0)).max() < 1e-12


def test_codes_of_the_training_set_are_white(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=5)
    assert len(model.codes) == len(shapes)
    assert model.codes.mean(0).abs().max() < 1e-9
    assert torch.allclose(model.codes.T.cov(correction=0), torch.eye(5, dtype=torch.float64), atol=1e-8)
    assert torch.equal(model.roughness(model.codes[3]), model.codes[3])
    assert model.gauge(model.codes[3]).shape == (0,)


def test_its_own_span_comes_back_exactly(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=5)
    latent = torch.tensor([0.3, -2.0, 1.0, 0.7, -0.1], dtype=torch.float64)
    assert torch.allclose(model.latent_of(model.vertices(latent)), latent, atol=1e-12)
    assert torch.allclose(jacobian(model.vertices, latent), model.modes, atol=1e-12)


def test_error_is_that_of_the_directions_left_out(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=4)
    flat = shapes.flatten(1).numpy()
    values = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    decoded = torch.stack([model.vertices(model.latent_of(shape)) for shape in shapes])
    # Eckart and Young
    assert float((decoded - shapes).square().sum()) == pytest.approx(float((values[4:] ** 2).sum()), rel=1e-6)
    assert float(round_trip_errors(model, shapes)[7]) == pytest.approx(
        float((decoded[7] - shapes[7]).norm(dim=1).mean()), rel=1e-9
    )


def test_fewest_modes_stop_at_the_tolerance(shapes):
    widest = fit_pca(shapes, TEMPLATE, n_modes=12)
    model, curve = fewest_modes(widest, shapes, tolerance=0.05)
    assert model.n_latent == len(curve) < 12
    assert curve[-1]["validation_error"] <= 0.05 < curve[-2]["validation_error"]
    assert fewest_modes(widest, shapes, tolerance=0.0)[0].n_latent == 12


def test_means_of_codes_are_means_of_shapes_and_do_not_fold(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=12)
    latents = model.between_codes(200, generator=torch.Generator().manual_seed(0))
    assert bool((latents.amax(0) <= model.codes.amax(0)).all())
    volumes = tet_volumes(torch.func.vmap(model.vertices)(latents), model.tets)
    assert float(volumes.min()) > 0


def test_start_is_the_straight_prism_or_a_code(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=12)
    extent = Extent(10.0, 2.5, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    mesh = model.mesh(model.initial(extent, generator=None))
    # straight prisms lie in the span up to what 12 modes leave out
    assert float(mesh.vertices[:, 2].max() - mesh.vertices[:, 2].min()) == pytest.approx(10.0, abs=0.05)
    assert float(mesh.volume) == pytest.approx(math.pi * 2.5**2 * 10.0, rel=0.02)
    start = model.initial(extent, generator=torch.Generator().manual_seed(3))
    assert bool((model.codes == start).all(1).any())
    assert model.fold_margin(start) > 0


def test_weights_come_back(shapes, tmp_path):
    model = fit_pca(shapes, TEMPLATE, n_modes=5)
    model.save(tmp_path / "w.safetensors")
    loaded = PCA.load(tmp_path / "w.safetensors", template=TEMPLATE)
    latent = torch.ones(5, dtype=torch.float64)
    # single precision of lengths of up to 100 µm
    assert torch.allclose(loaded.vertices(latent), model.vertices(latent), atol=3e-5)
    assert torch.allclose(loaded.latent_of(loaded.vertices(latent)), latent, atol=1e-11)


def test_misuse_is_named(shapes):
    model = fit_pca(shapes, TEMPLATE, n_modes=5)
    with pytest.raises(InputError, match=r"PCA: latent has shape \(4,\), expected \(5,\)"):
        model.vertices(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(InputError, match="n_modes is 60, expected 1 to 59 for 60 shapes"):
        fit_pca(shapes, TEMPLATE, n_modes=60)
    with pytest.raises(InputError, match=r"PCA: mean has shape \(2, 3\)"):
        PCA(template=TEMPLATE, mean=torch.zeros(2, 3), modes=model.modes, codes=model.codes)

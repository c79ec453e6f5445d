import pytest
import torch
from bent_prisms import TEMPLATE, bent

from torrey.autodiff import jacobian
from torrey.errors import InputError
from torrey.shape import Autoencoder, Extent
from torrey.shape.training import AutoencoderSettings, train_autoencoder

TINY = AutoencoderSettings(
    epochs=3, batch=8, nodes=(70, 12, 6), channels=4, n_latent=5, learning_rate=5e-3, patience=3
)


@pytest.fixture(scope="module")
def shapes():
    return bent(64).float()


@pytest.fixture(scope="module")
def model(shapes):
    return train_autoencoder(shapes, shapes[:16], TEMPLATE, settings=TINY)[0]


def test_gradients_are_those_of_central_differences(model):
    latent = model.codes[5]
    J = jacobian(model.vertices, latent)
    step = 1e-5
    for k, row in enumerate(torch.eye(5, dtype=torch.float64) * step):
        difference = (model.vertices(latent + row) - model.vertices(latent - row)) / (2 * step)
        # h²/6 of third derivatives of a smooth map, and rounding of 10 µm over h
        assert torch.allclose(J[k], difference, atol=1e-7)
    x = latent.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda z: model.vertices(z).square().mean(), (x,))


def test_the_encoder_is_differentiable_too(model, shapes):
    vertices, shift = shapes[3].double(), torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model.latent_of(vertices * (1 + x)), (shift,))


def test_shapes_are_centred_and_lie_in_the_basis(model):
    vertices = model.vertices(model.codes[0])
    assert vertices.mean(0).abs().max() < 1e-6
    assert torch.allclose(model.basis @ (model.basis.T @ vertices), vertices, atol=1e-5)


def test_roughness_whitens_the_codes(model, shapes):
    codes = torch.func.vmap(model.latent_of)(shapes.double())
    white = torch.func.vmap(model.roughness)(codes)
    assert white.mean(0).abs().max() < 1e-9
    # the covariance was lifted by a millionth of its mean diagonal
    assert torch.allclose(white.T.cov(), torch.eye(5, dtype=torch.float64), atol=0.05)
    assert model.gauge(codes[0]).shape == (0,)


def test_starts(model):
    extent = Extent(9.0, 3.0, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    vertices = TEMPLATE.vertices * torch.tensor([(torch.pi / 3) ** 0.5] * 2 + [1.0], dtype=torch.float64)
    assert torch.allclose(model.initial(extent, generator=None), model.latent_of(vertices), atol=1e-9)
    start = model.initial(extent, generator=torch.Generator().manual_seed(1))
    assert bool((model.codes == start).all(1).any())


def test_weights_come_back(model, tmp_path):
    model.save(tmp_path / "w.safetensors")
    loaded = Autoencoder.load(tmp_path / "w.safetensors", template=TEMPLATE)
    # the network was trained in single precision: nothing is lost but of codes
    assert torch.equal(loaded.vertices(model.codes[2]), model.vertices(model.codes[2]))
    assert torch.allclose(loaded.code_factor, model.code_factor, rtol=1e-6)
    with pytest.raises(InputError, match=r"Autoencoder: latent has shape \(16,\), expected \(5,\)"):
        loaded.vertices(torch.zeros(16, dtype=torch.float64))

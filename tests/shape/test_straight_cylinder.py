import math

import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import cylinder, prism
from torrey.shape import Extent, StraightCylinder

TEMPLATES = {"its own": None, "prism": prism(), "flat": cylinder(7.0, 3.0, n_rings=1, n_layers=2)}


def model_on(name):
    template = TEMPLATES[name]
    return StraightCylinder() if template is None else StraightCylinder(template=template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_length_and_volume_are_those_asked_for(name):
    model = model_on(name)
    latent = torch.tensor([11.0, 2.5], dtype=torch.float64).log()
    mesh = model.mesh(latent)
    assert float(mesh.volume) == pytest.approx(math.pi * 2.5**2 * 11, rel=1e-12)
    z = mesh.vertices[:, 2]
    assert (float(z.min()), float(z.max())) == pytest.approx((-5.5, 5.5), rel=1e-12)
    assert torch.allclose(model.latent_of(mesh.vertices), latent, atol=1e-12)
    assert torch.allclose(model.latent_of(mesh.vertices + 3.0), latent, atol=1e-12)


def test_a_start_has_the_extent_and_varies_with_a_generator():
    model = StraightCylinder()
    extent = Extent(12.0, 2.0, torch.tensor([0.0, 0.0, 1.0]))
    assert model.initial(extent, generator=None).exp().tolist() == pytest.approx([12.0, 2.0])
    varied = model.initial(extent, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(varied, model.initial(extent, generator=None), atol=1e-3)
    again = model.initial(extent, generator=torch.Generator().manual_seed(0))
    assert torch.equal(varied, again)


def test_gradcheck():
    latent = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        StraightCylinder(template=cylinder(1, 2, n_rings=1, n_layers=1)).vertices, latent
    )


def test_misuse_is_named():
    template = cylinder(1.0, 2.0, n_rings=1, n_layers=1)
    with pytest.raises(InputError, match="the template has an inverted tet"):
        StraightCylinder(template=template.with_vertices(template.vertices * torch.tensor([1.0, 1.0, -1.0])))
    with pytest.raises(InputError, match=r"latent has shape \(3,\), expected \(2,\)"):
        StraightCylinder().vertices(torch.zeros(3))

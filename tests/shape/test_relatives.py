import math

import pytest
import torch

from torrey.autodiff import jacobian
from torrey.mesh import Bead, Bend, Compose, Twist, prism, tet_volumes
from torrey.shape import Extent, Posed, Tube, pretrained
from torrey.shape.posed import vector_of
from torrey.shape.sweep.relatives import LONGEST, SHORTEST, Relatives

ALONG_Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
TEMPLATE = prism()
"""A prism of 12 sides, radius 3 and height 9 µm."""

OWN_SIZE = [math.log(3.0), math.log(3.0), math.log(9.0)]


@pytest.fixture(scope="module")
def mixed():
    return pretrained("sweep", "mixed")


def relatives_of(model, deformation):
    """Of the template so deformed, by its coefficients in a model."""
    vertices = deformation(TEMPLATE.vertices)
    latent = model.latent_of(vertices - vertices.mean(0))
    figure, tets, n_layers = model._section[0], model.tets, model.n_layers
    return Relatives(model.mean + model.basis @ latent, figure, tets, n_layers)


def latent(size, emphasis, share):
    return torch.tensor([*size, emphasis, share], dtype=torch.float64)


def apart(found, expected):
    return float((found - (expected - expected.mean(0))).norm(dim=1).mean())


@pytest.mark.parametrize(("own", "count"), [(3, 2), (5, 6), (7, 8)])
@pytest.mark.parametrize("emphasis", [1.0, 0.5])
def test_beads_of_one_count_are_related_to_those_of_any_other(mixed, own, count, emphasis):
    """A share of n beads is fewer or more of them, and their amplitude is multiplied: as the closed form."""
    relatives = relatives_of(mixed, Bead(0.3, own))
    found = relatives.vertices(latent(OWN_SIZE, emphasis, count / own))
    expected = Bead(0.3 * emphasis, count)(TEMPLATE.vertices)
    # the error of the model itself at the axon, and of its smooth radius where that is small
    assert apart(found, expected) < 0.01


def test_the_whole_of_an_axon_in_its_own_size_is_the_axon(mixed):
    deformation = Compose(Bend(0.3), Twist(0.4))
    relatives = relatives_of(mixed, deformation)
    found = relatives.vertices(latent(OWN_SIZE, 1.0, 1.0))
    assert apart(found, deformation(TEMPLATE.vertices)) < 0.01
    straight = relatives.vertices(latent(OWN_SIZE, 0.0, 1.0))
    assert apart(straight, TEMPLATE.vertices) < 0.01


def test_derivatives_are_those_of_differences(mixed):
    relatives = mixed.relatives(3)
    at = latent([0.4, 0.1, 2.2], 0.8, 0.9)
    slope = jacobian(relatives.vertices, at)
    step = 1e-5
    for k, unit in enumerate(torch.eye(5, dtype=torch.float64)):
        difference = (relatives.vertices(at + step * unit) - relatives.vertices(at - step * unit)) / (
            2 * step
        )
        torch.testing.assert_close(slope[k], difference, atol=1e-7, rtol=1e-5)


def test_bounds_are_where_the_margin_ends(mixed):
    relatives = relatives_of(mixed, Bead(0.6, 3))
    inside = latent(OWN_SIZE, 1.0, 1.0)
    assert relatives.fold_margin(inside) > 0
    for emphasis, share in (
        (1.0, SHORTEST - 0.01),
        (1.0, LONGEST + 0.01),
        (2.1, 1.0),
        (-2.1, 1.0),
        (1.7, 1.0),
    ):
        # 1.7 times 0.6 leaves no radius at all
        assert relatives.fold_margin(latent(OWN_SIZE, emphasis, share)) <= 0, (emphasis, share)


def test_starts_are_valid_and_of_the_volume_of_the_extent(mixed):
    extent = Extent(11.0, 1.7, ALONG_Z)
    volumes, shares = [], []
    for seed in range(12):
        relatives = mixed.relatives(seed)
        start = relatives.initial(extent, generator=torch.Generator().manual_seed(seed))
        again = relatives.initial(extent, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(start, again)
        mesh = relatives.mesh(start)
        assert tet_volumes(mesh.vertices, mesh.tets).min() > 0
        volumes.append(float(mesh.volume))
        shares.append(float(start[4]))
    # of the cylinder's, less what a polygon lacks and more what beads add
    assert min(volumes) > 0.9 * math.pi * 1.7**2 * 11
    assert max(volumes) < 1.2 * math.pi * 1.7**2 * 11
    assert max(shares) - min(shares) > 0.5
    assert float(mixed.relatives(0).initial(extent, generator=None)[4]) == 1.0


def test_a_relative_is_carried_to_the_model_that_has_it(mixed):
    relatives = relatives_of(mixed, Bead(0.3, 5))
    at = latent([1.0, 0.8, 2.1], 0.9, 0.8)
    carried = mixed.carried(relatives, at)
    assert apart(mixed.vertices(carried), relatives.vertices(at)) < 0.005
    turn = torch.linalg.matrix_exp(
        torch.tensor([[0.0, -0.3, 0.2], [0.3, 0.0, -0.4], [-0.2, 0.4, 0.0]], dtype=torch.float64)
    )
    posed, posed_relatives = Posed(mixed), Posed(relatives)
    turned = torch.cat([at, vector_of(turn)])
    found = posed.vertices(posed.carried(posed_relatives, turned))
    assert apart(found, posed_relatives.vertices(turned)) < 0.005


def test_models_without_relatives_say_so(mixed):
    assert mixed.n_relatives == Posed(mixed).n_relatives == len(mixed.codes) > 0
    assert isinstance(Posed(mixed).relatives(0).model, Relatives)
    tube = Tube()
    assert tube.n_relatives == 0
    with pytest.raises(IndexError, match="Tube has no relatives"):
        tube.relatives(0)

from dataclasses import replace

import pytest
import torch

from torrey.errors import InputError
from torrey.inverse.stages import only_stage, stages
from torrey.mesh import cylinder
from torrey.shape import Extent, Tube, Vertices, pretrained

S = torch.linspace(0, 1, 12, dtype=torch.float64)


def wiggly(tube):
    noise = torch.randn(tube.n_latent, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return tube.straight(length=12.0, radius=1.5, direction=(1, 2, 3)) + 0.3 * noise


@pytest.mark.parametrize(("n_control", "n_radius"), [(4, 4), (5, 4), (4, 7), (7, 11), (5, 19), (11, 35)])
def test_knots_are_inserted_without_changing_the_shape(n_control, n_radius):
    target = Tube(n_control=n_control, n_radius=n_radius, n_rings=2, n_layers=20)
    sequence = stages(target)
    latent = wiggly(sequence[0].shape)
    # the same mesh whatever the layers of a stage
    fixed = {"n_rings": 1, "n_layers": 30}
    expected = replace(sequence[0].shape, **fixed).vertices(latent)
    before = sequence[0].shape
    for stage in sequence:
        latent = stage.carry(before, latent)
        before = stage.shape
        assert latent.shape == (stage.shape.n_latent,)
        assert torch.allclose(replace(stage.shape, **fixed).vertices(latent), expected, atol=1e-9)
    assert before.n_control == n_control
    assert before.n_radius == n_radius


@pytest.mark.parametrize(("n_control", "n_radius", "n_layers"), [(4, 4, 8), (7, 11, 20), (11, 35, 40)])
def test_stages_grow_from_few_parameters_at_falling_error(n_control, n_radius, n_layers):
    sequence = stages(Tube(n_control=n_control, n_radius=n_radius, n_layers=n_layers))
    counts = [stage.shape.n_latent for stage in sequence]
    assert counts[0] == 16
    assert counts == sorted(counts)
    assert counts[-1] == 3 * n_control + n_radius
    for name, falls in (("length_scale", True), ("sigma", True), ("most_modes", False)):
        values = [getattr(stage, name) for stage in sequence]
        assert values == sorted(values, reverse=falls), name


@pytest.mark.parametrize(
    ("n_control", "n_radius", "message"),
    [
        (6, 4, "n_control is 6, which halving spans does not reach; expected one of 4, 5, 7"),
        (4, 6, "n_radius is 6, which halving spans does not reach; expected one of 4, 5, 7"),
        (7, 12, "n_radius is 12, which halving spans does not reach; expected one of 4, 5, 7, 11, 19"),
        (8, 11, "n_control is 8, which halving spans does not reach; expected one of 4, 5, 7, 11"),
    ],
)
def test_counts_that_halving_does_not_reach(n_control, n_radius, message):
    """Said before anything is fitted, and only where knots are to be inserted."""
    shape = Tube(n_control=n_control, n_radius=n_radius)
    with pytest.raises(InputError) as error:
        stages(shape)
    assert str(error.value) == f"Tube: {message}"
    assert only_stage(shape).shape.n_latent == shape.n_latent


def test_a_learned_sweep_starts_in_its_relatives():
    sweep = pretrained("sweep", "fan")
    sequence = stages(sweep)
    assert [stage.name for stage in sequence] == ["relatives", "relatives", "all"]
    first = sweep.relatives(0)
    latent = first.initial(Extent(9.0, 3.0, torch.tensor([0.0, 0.0, 1.0])), generator=None)
    carried = sequence[-1].carry(first, latent)
    expected = first.vertices(latent)
    assert float((sweep.vertices(carried) - expected).norm(dim=1).mean()) < 0.05
    assert sequence[-1].carry(sweep, carried) is carried


def test_other_shapes_have_one_stage():
    shape = Vertices(template=cylinder(1.5, 6.0, n_rings=1, n_layers=3))
    (stage,) = stages(shape)
    latent = torch.zeros(shape.n_latent)
    assert stage.shape is shape
    assert stage.carry(shape, latent) is latent

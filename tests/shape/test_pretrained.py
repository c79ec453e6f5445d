import pytest
import torch

from torrey.errors import InputError
from torrey.mesh import prism
from torrey.shape import PCA, pretrained
from torrey.shape.families import family_named
from torrey.shape.training import count_folded, round_trip_errors

FAMILIES = ("bend", "bead", "fan")


def unseen(family, count=40):
    """Return every hundredth shape to test with; errors were recorded on others."""
    chosen = family_named(family).split("test")[37 : 37 + 100 * count : 100]
    return torch.stack([family_named(family).sample(i).canonical for i in chosen])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["pca", "autoencoder"])
def test_shipped_models_are_as_good_as_their_cards_say(kind, family):
    model = pretrained(kind, family)
    assert model.about["family"] == family
    recorded = model.about["round_trip"][f"test, {family}"]
    mean = float(round_trip_errors(model, unseen(family)).mean())
    # the error spreads by less than its mean among shapes: 40 of them know that to a sixth
    assert mean == pytest.approx(recorded["mean"], rel=0.5)
    if kind == "pca" and family != "bead":
        assert mean < 0.01
    if kind == "autoencoder" and family == "bend":
        # the published one has 0.040
        assert mean < 0.04
    between = model.between_codes(200, generator=torch.Generator().manual_seed(5))
    share = model.about["folded"]["between_codes"] / model.about["folded"]["of"]
    assert count_folded(model, between) <= 200 * share + 10 * (200 * share) ** 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_principal_components_do_not_fold_between_codes(family):
    assert pretrained("pca", family).about["folded"]["between_codes"] == 0


def test_codes_come_back_through_the_autoencoder():
    model = pretrained("autoencoder", "bend")
    for code in model.codes[:5]:
        again = model.latent_of(model.vertices(code))
        # what the network loses of a shape, 0.03 µm of 10, in units of the codes' spread
        assert (again - code).norm() < 0.05 * model.codes.std(0).norm()


def test_what_does_not_ship_is_named():
    with pytest.raises(InputError, match="family is 'mixed', expected bend or bead or fan"):
        pretrained("pca", "mixed")
    with pytest.raises(InputError, match="kind is 'mlp', expected pca or autoencoder"):
        pretrained("mlp", "bend")


def test_weights_are_for_one_template(tmp_path):
    path = tmp_path / "w.safetensors"
    pretrained("pca", "fan").save(path)
    with pytest.raises(InputError, match="weights have template"):
        PCA.load(path, template=prism(n_layers=4))

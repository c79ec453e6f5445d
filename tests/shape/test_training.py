from dataclasses import replace

import pytest
import torch
from bent_prisms import TEMPLATE, bent

from torrey.errors import FileError, InputError
from torrey.shape.training import (
    AutoencoderSettings,
    count_folded,
    fit_pca,
    folds,
    gradient_descent,
    round_trip_errors,
    train_autoencoder,
    trials,
)

TINY = AutoencoderSettings(
    epochs=4, batch=8, nodes=(70, 12, 6), channels=4, n_latent=5, learning_rate=5e-3, patience=4
)


@pytest.fixture(scope="module")
def shapes():
    return bent(48).float()


def trained(shapes, settings=TINY, **more):
    return train_autoencoder(shapes, shapes[:16], TEMPLATE, settings=settings, **more)


def same_weights(one, other):
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


class KilledError(Exception):
    pass


def test_a_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others(shapes):
    first, curve = trained(shapes)
    again, same = trained(shapes)
    assert same_weights(first, again)
    assert same == curve
    other, _ = trained(shapes, replace(TINY, seed=1))
    assert not same_weights(first, other)


def test_a_killed_run_that_is_resumed_ends_like_an_undisturbed_one(shapes, tmp_path):
    undisturbed, curve = trained(shapes)
    for killed_after in (1, 3):

        def kill(done, _, killed_after=killed_after):
            if done == killed_after:
                raise KilledError

        path = tmp_path / f"{killed_after}.checkpoint"
        with pytest.raises(KilledError):
            trained(shapes, checkpoint=path, progress=kill)
        resumed, whole = trained(shapes, checkpoint=path, resume=True)
        assert whole == curve
        assert same_weights(resumed, undisturbed)


def test_training_lowers_the_error(shapes):
    model, curve = trained(shapes, replace(TINY, epochs=8, patience=8, learning_rate=0.03))
    errors = [row["validation_error"] for row in curve]
    # 5 of 75 coefficients are left out, which the error of coefficients does not see
    assert float(round_trip_errors(model, shapes[:16]).mean()) == pytest.approx(min(errors), rel=0.1)
    straight = (shapes[:16] - shapes[:16].mean(0)).norm(dim=2).mean()
    assert min(errors) < 0.5 * float(straight)


def test_the_best_epoch_is_returned_and_training_ends_some_epochs_after_it(shapes, tmp_path, monkeypatch):
    errors = iter([3.0, 1.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr(gradient_descent._Run, "_validation_error", lambda run: next(errors))
    path, states = tmp_path / "c.checkpoint", []
    model, curve = trained(
        shapes,
        replace(TINY, patience=2),
        checkpoint=path,
        progress=lambda done, total: states.append(torch.load(path)["network"]),
    )
    assert len(curve) == 4
    best = [torch.equal(state["to_code.weight"], model.network.to_code.weight.float()) for state in states]
    assert best == [False, True, False, False]


def test_checkpoints_of_something_else_are_refused(shapes, tmp_path):
    path = tmp_path / "c.checkpoint"
    with pytest.raises(FileError, match="no checkpoint to go on from"):
        trained(shapes, checkpoint=path, resume=True)
    trained(shapes, replace(TINY, epochs=1), checkpoint=path)
    with pytest.raises(InputError, match="other settings or shapes"):
        trained(shapes, checkpoint=path, resume=True)
    with pytest.raises(InputError, match="other settings or shapes"):
        trained(shapes[:40], replace(TINY, epochs=1), checkpoint=path, resume=True)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match="is no checkpoint"):
        trained(shapes, checkpoint=path, resume=True)


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 0), ("batch", -1), ("learning_rate", 0.0), ("seed", -1)]
)
def test_settings_are_checked(name, value):
    with pytest.raises(InputError, match=f"train: {name} is {value}, expected"):
        replace(TINY, **{name: value})


def test_folds_are_counted(monkeypatch):
    monkeypatch.setattr(trials, "N_RANDOM", 2000)
    squeezed = torch.stack([TEMPLATE.vertices * torch.tensor([1.0, 1.0, s]) for s in (0.5, 1.5)])
    model = fit_pca(squeezed, TEMPLATE, n_modes=1)
    # heights are 1 + z/2 of the template's; at z < −2 the prism is upside down
    latents = torch.tensor([[-2.1], [-1.9], [0.0], [5.0], [-7.0]], dtype=torch.float64)
    latents = latents * (model.codes[1] - model.codes[0]).sign()
    assert count_folded(model, latents) == 2
    random = folds(model, model.codes, generator=torch.Generator().manual_seed(0))
    assert random["of"] == 2000
    assert random["box"] == random["between_codes"] == 0
    # unbiased variance of two codes is 2: P(√2 x < −2) = 7.9 %, standard error 0.6 %
    assert random["gaussian"] == pytest.approx(157, abs=48)

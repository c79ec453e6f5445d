import pytest
import torch

from torrey.cli import main
from torrey.shape import PCA, make_dataset
from torrey.shape.families import Fans
from torrey.shape.training import round_trip_errors, trials


@pytest.fixture(autouse=True)
def few_random_latents(monkeypatch):
    monkeypatch.setattr(trials, "N_RANDOM", 50)


@pytest.fixture(scope="module")
def fans(tmp_path_factory):
    family, folder = Fans(), tmp_path_factory.mktemp("fans")
    chosen = [i for name in ("train", "validation", "test") for i in list(family.split(name))[:40]]
    make_dataset(folder / "data", family, indices=chosen)
    return folder / "data"


def test_pca_of_a_data_set(fans, tmp_path, capsys):
    output = tmp_path / "w.safetensors"
    assert main(["train", "pca", "--family", "fan", "--dataset", str(fans), "-o", str(output)]) == 0
    assert "latent of 5, mean vertex error" in capsys.readouterr().out
    # heights, two widths and two slopes: shapes of the family lie in a space of five dimensions
    model = PCA.load(output)
    assert model.n_latent == 5
    family = Fans()
    unseen = torch.stack([family.sample(i).canonical for i in list(family.split("test"))[100:110]])
    assert float(round_trip_errors(model, unseen).mean()) < 1e-3
    curve = [line.split("\t") for line in output.with_suffix(".tsv").read_text().splitlines()]
    assert curve[0] == ["n_modes", "validation_error"]
    assert len(curve) == 6
    card = output.with_suffix(".md").read_text()
    assert "Trained on 40 shapes of the family *fan*: modes 5." in card
    assert "| test, fan | 40 |" in card
    assert "| between codes (weighted means of three) | 0 |" in card


def test_an_interrupted_training_goes_on(fans, tmp_path, capsys, monkeypatch):
    from torrey.shape.training import gradient_descent

    command = ["train", "autoencoder", "--family", "fan", "--dataset", str(fans), "--epochs", "2"]
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    assert main([*command, "-o", str(whole)]) == 0
    saves = []

    def save_once(run, path, save=gradient_descent._Run.save):
        save(run, path)
        saves.append(path)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(gradient_descent._Run, "save", save_once)
    assert main([*command, "-o", str(cut)]) == 130
    assert not cut.exists()
    assert main([*command, "-o", str(cut), "--resume"]) == 0
    assert cut.read_bytes() == whole.read_bytes()
    assert (
        sorted(path.suffix for path in tmp_path.iterdir())
        == [".md"] * 2 + [".safetensors"] * 2 + [".tsv"] * 2
    )
    assert main([*command, "-o", str(cut), "--resume"]) == 2
    assert "cut.checkpoint: no checkpoint to go on from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["pca", "--epochs", "3"], "pca has no --epochs"),
        (["autoencoder", "--modes", "3"], "--modes is of pca"),
        (["sweep", "--modes", "3"], "sweep has --shapes and --seed only"),
        (["pca", "--family", "bead"], "holds shapes of fan, expected bead"),
        (["pca", "--shapes", "10"], "expected none with --dataset"),
        (["pca", "--output", "folder/w.pt"], "unknown kind of output file"),
    ],
)
def test_misuse_is_one_line(fans, tmp_path, capsys, more, said):
    kind, *options = more
    for name, value in (
        ("--family", "fan"),
        ("--output", str(tmp_path / "w.safetensors")),
        ("--dataset", str(fans)),
    ):
        if name not in options:
            options += [name, value]
    assert main(["train", kind, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial import cKDTree

from torrey.errors import FileError, InputError
from torrey.experiments.baselines import (
    Mlp,
    Network,
    ResidualMlp,
    Training,
    VertexChamfer,
    VertexDistance,
    load_network,
    train_network,
)
from torrey.experiments.baselines.layers import Inputs, PrincipalVertices

N_VERTICES = 4
PLAIN = Mlp(n_layers=1, width=64, dropout=0.0)
RESIDUAL = ResidualMlp(n_blocks=1, width=32, expansion=1, dropout=0.0)
DROPPING = ResidualMlp(n_blocks=1, width=16, expansion=1, dropout=0.2)
SHORT = Training(n_epochs=6, batch=16, noise=0.02, n_codes=3)


def shapes_of_known_answer(n, *, seed):
    """Signals (n, 7) in µm³ and vertices (n, 4, 3) that are linear in S/S(0)."""
    generator = torch.Generator().manual_seed(seed)
    attenuation = 0.2 + 0.6 * torch.rand(n, 5, generator=generator, dtype=torch.float64)
    volume = 50 + 100 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    ones = torch.ones(n, 2, dtype=torch.float64)
    matrix = torch.randn(5, 3 * N_VERTICES, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return volume * torch.cat([ones, attenuation], dim=1), (attenuation @ matrix).unflatten(1, (-1, 3))


DATA, HELD_OUT = shapes_of_known_answer(300, seed=0), shapes_of_known_answer(60, seed=1)


def train(architecture, training, *, data=DATA, validation=HELD_OUT, seed=0, **options):
    return train_network(
        architecture,
        *data,
        validation=validation,
        training=training,
        generator=torch.Generator().manual_seed(seed),
        **options,
    )


def error(network, signals, vertices):
    return float((network.predict(signals) - vertices).norm(dim=2).mean())


@pytest.mark.parametrize(("architecture", "n_codes"), [(PLAIN, None), (RESIDUAL, 5)])
def test_learns_a_linear_map(architecture, n_codes):
    training = Training(n_epochs=40, batch=30, learning_rate=1e-2, weight_decay=1e-4, n_codes=n_codes)
    network = train(architecture, training)
    # against the true map, not a fit of it: the mean of the shapes is 0.85 µm off
    signals, vertices = shapes_of_known_answer(100, seed=2)
    assert error(network, signals, vertices) < 0.02
    # twice the volume is another S(0), on which the vertices do not depend
    assert error(network, 1.2 * signals, vertices) < 0.05


def test_the_seed_reproduces_and_leaves_the_generators_of_others_alone():
    before = torch.get_rng_state()
    first, second = train(DROPPING, SHORT), train(DROPPING, SHORT)
    assert torch.equal(torch.get_rng_state(), before)
    for name, weights in first.module.state_dict().items():
        assert torch.equal(weights, second.module.state_dict()[name]), name
    other = train(DROPPING, SHORT, seed=1)
    assert not torch.equal(other.predict(HELD_OUT[0]), first.predict(HELD_OUT[0]))


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_as_if_nothing_had_happened(tmp_path):
    undisturbed = []
    expected = train(DROPPING, SHORT, progress=undisturbed.append)
    file, epochs = tmp_path / "run.pt", []

    def kill_after_three(epoch):
        epochs.append(epoch)
        if len(epochs) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(DROPPING, SHORT, checkpoint=file, progress=kill_after_three)
    resumed = train(DROPPING, SHORT, checkpoint=file, progress=epochs.append)
    assert [(e.index, e.training, e.validation) for e in epochs] == [
        (e.index, e.training, e.validation) for e in undisturbed
    ]
    assert torch.equal(resumed.predict(HELD_OUT[0]), expected.predict(HELD_OUT[0]))
    with pytest.raises(InputError, match=r"run\.pt: the checkpoint is of a run with other settings"):
        train(DROPPING, replace(SHORT, batch=8), checkpoint=file)
    with pytest.raises(InputError, match="other settings, seed or data"):
        train(DROPPING, SHORT, seed=3, checkpoint=file)
    with pytest.raises(InputError, match="other settings, seed or data"):
        train(DROPPING, SHORT, data=(DATA[0], DATA[1] + 1), checkpoint=file)
    file.write_bytes(b"nothing")
    with pytest.raises(FileError, match="is not a checkpoint"):
        train(DROPPING, SHORT, checkpoint=file)


def test_chamfer_of_vertices_is_that_of_a_search_tree_and_blind_to_numbers_and_reflection():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 30, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = []
    for x, y in zip(
        (a - a.mean(1, keepdim=True)).numpy(), (b - b.mean(1, keepdim=True)).numpy(), strict=True
    ):
        both = [(cKDTree(y).query(p)[0].mean() + cKDTree(p).query(y)[0].mean()) / 2 for p in (x, -x)]
        expected.append(min(both))
    assert VertexChamfer()(a, b).tolist() == pytest.approx(expected, rel=1e-9)
    other = 3.0 - a[:, torch.randperm(30, generator=generator)]
    # distances of equal points are the roots of rounding
    assert float(VertexChamfer()(a, other).max()) < 1e-6


def test_shapes_without_numbers_are_learned_by_chamfer():
    generator = torch.Generator().manual_seed(0)

    def shuffled(data):
        """The order of the vertices of each shape drawn at random, which no signal tells."""
        order = torch.rand(len(data[1]), N_VERTICES, generator=generator).argsort(1)
        return data[0], data[1].gather(1, order[:, :, None].expand(-1, -1, 3))

    training = Training(n_epochs=15, batch=30, learning_rate=1e-2, weight_decay=1e-4)
    data, held_out = shuffled(DATA), shuffled(HELD_OUT)
    errors = []
    for loss in (VertexDistance(), VertexChamfer()):
        network = train(PLAIN, replace(training, loss=loss), data=data, validation=held_out)
        errors.append(float(VertexChamfer()(network.predict(held_out[0]), held_out[1]).mean()))
    # by number all vertices are sought in the middle
    assert errors[1] < errors[0] / 2


def test_training_stops_early_and_returns_the_best():
    # what is learned is the opposite of what is asked for, so that the first epochs are the best ones
    signals, vertices = HELD_OUT
    opposite = signals, 2 * DATA[1].mean(0) - vertices
    epochs = []
    training = Training(n_epochs=50, batch=30, learning_rate=1e-2, patience=3)
    network = train(RESIDUAL, training, validation=opposite, progress=epochs.append)
    lowest = min(epochs, key=lambda epoch: epoch.validation)
    assert len(epochs) == lowest.index + 1 + 3 < 50
    # in float32
    assert error(network, *opposite) == pytest.approx(lowest.validation, rel=1e-6)


def test_inputs_are_standard_and_know_the_measurements_without_a_gradient():
    inputs = Inputs(7)
    signals = DATA[0].float()
    inputs.fit(signals)
    assert torch.allclose(inputs.reference(signals)[:, 0], signals[:, 0])
    standard = inputs(signals)
    # no input from what never changes
    assert bool((standard[:, 1:3] == 0).all())
    deviation, mean = torch.std_mean(standard[:, [0, 3, 4, 5, 6, 7]], dim=0, correction=0)
    assert torch.allclose(mean, torch.zeros(6), atol=1e-5)
    assert torch.allclose(deviation, torch.ones(6), atol=1e-5)


def test_principal_components_of_all_shapes_give_them_back():
    shapes = DATA[1].float()
    principal = PrincipalVertices(5, N_VERTICES)
    principal.fit(shapes)
    flat = (shapes - shapes.mean(0)).flatten(1)
    codes = flat @ torch.linalg.pinv(principal.components)
    assert torch.allclose(principal(codes), shapes, atol=1e-5)
    # uncorrelated, of unit variance
    assert torch.allclose(codes.T @ codes / len(codes), torch.eye(5), atol=1e-4)


def test_a_file_keeps_the_network(tmp_path):
    for architecture, training in ((PLAIN, replace(SHORT, n_codes=None, n_epochs=1)), (DROPPING, SHORT)):
        network = train(architecture, training)
        network.save(tmp_path / "network.safetensors")
        read = load_network(tmp_path / "network.safetensors")
        assert read.architecture == architecture
        assert torch.equal(read.predict(HELD_OUT[0]), network.predict(HELD_OUT[0]))
    tensors = load_file(tmp_path / "network.safetensors")
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(FileError, match="holds no network"):
        load_network(tmp_path / "other.safetensors")
    save_file(tensors, tmp_path / "other.safetensors", metadata={"torrey.baseline": '{"format": 99}'})
    with pytest.raises(FileError, match="format 99, expected 1"):
        load_network(tmp_path / "other.safetensors")
    (tmp_path / "other.safetensors").write_text("nothing")
    with pytest.raises(FileError, match="cannot be read as a safetensors file"):
        load_network(tmp_path / "other.safetensors")


def test_sizes_are_those_published_and_stated():
    sizes = {"n_measurements": 1890, "n_vertices": 315}
    with torch.device("meta"):
        plain = Network.untrained(Mlp(), **sizes, n_codes=None)
        residual = Network.untrained(ResidualMlp(), **sizes, n_codes=32)
    # by hand, 1 891 inputs: 15 layers of 4 096 units, then 945 coordinates
    assert plain.n_weights == 1892 * 4096 + 14 * 4097 * 4096 + 4097 * 945
    block = 2 * 512 + 513 * 1024 + 1025 * 512
    assert residual.n_weights == 1892 * 512 + 3 * block + 513 * 32


def test_misuse_is_named():
    with pytest.raises(InputError, match=r"Mlp: width is 0, expected a whole number of at least 1"):
        Mlp(width=0)
    with pytest.raises(InputError, match=r"ResidualMlp: dropout is 1\.0"):
        ResidualMlp(dropout=1.0)
    with pytest.raises(InputError, match="Training: learning_rate is 0"):
        Training(learning_rate=0)
    signals, vertices = DATA
    with pytest.raises(InputError, match=r"validation: signals and vertices have the shapes"):
        train(PLAIN, SHORT, validation=(signals, vertices[:, :3]))
    bad = vertices.clone()
    bad[3, 0, 0] = torch.nan
    with pytest.raises(InputError, match="training: vertices of shape 3 are not all finite"):
        train(PLAIN, SHORT, data=(signals, bad))
    with pytest.raises(InputError, match="expected 7 values, as the network was trained with"):
        train(PLAIN, replace(SHORT, n_epochs=1)).predict(torch.zeros(8))

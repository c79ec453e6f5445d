"""Data sets hold what their family gives, whatever happens while they are made."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future

import numpy as np
import pytest
import signals_of_shapes
import torch
from signals_of_shapes import SPREAD, coarse, moments

from torrey.errors import AccuracyWarning, FileError, InputError, TorreyError
from torrey.experiments.executors import LocalProcesses
from torrey.mesh import prism
from torrey.shape import make_dataset, open_dataset
from torrey.shape.families import BendTwist, Fans, Mixed

OF = {"of": "moments"}


def make(folder, *, family=None, indices=SPREAD, seed=2, signals=moments, settings=OF, **more):
    family = family or Fans()
    return make_dataset(
        folder, family, indices=indices, seed=seed, signals=signals, settings=settings, **more
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    make(folder)
    return folder


def test_records_are_the_samples_of_the_family(undisturbed):
    dataset = open_dataset(undisturbed)
    samples = [Fans().sample(index, seed=2) for index in SPREAD]
    assert len(dataset) == len(SPREAD)
    assert dataset.indices.tolist() == SPREAD
    assert torch.equal(dataset.vertices(), torch.stack([each.vertices for each in samples]).float())
    assert torch.equal(dataset.rotations(), torch.stack([each.rotation for each in samples]))
    assert torch.equal(dataset.scales(), torch.stack([each.scale for each in samples]))
    assert torch.equal(dataset.signals(), torch.stack([moments(each) for each in samples]).float())
    assert dataset.parameters["angle"].tolist() == [each.parameters["angle"] for each in samples]
    assert dataset.parameters.keys() == {"angle"}
    assert dataset.n_redrawn == 0
    assert torch.equal(dataset.template.vertices, prism().vertices)
    assert torch.equal(dataset.template.tets, prism().tets)
    # float32 of coordinates up to 30 µm
    canonical = torch.stack([each.canonical for each in samples]).float()
    torch.testing.assert_close(dataset.canonical(), canonical, atol=1e-5, rtol=0)


def test_rows_are_those_asked_for_in_the_order_asked_for(undisturbed):
    dataset = open_dataset(undisturbed)
    every = dataset.vertices()
    assert torch.equal(dataset.vertices(6), every[6])
    assert torch.equal(dataset.vertices(-1), every[-1])
    assert torch.equal(dataset.vertices(slice(3, 40, 5)), every[3:40:5])
    for which in ([30, 2, 2, 7, 29], range(8, 2, -2), torch.tensor([30, 0])):
        assert torch.equal(dataset.vertices(which), every[torch.as_tensor(list(which))])
        assert torch.equal(dataset.signals(which), dataset.signals()[torch.as_tensor(list(which))])
    assert dataset.split("train").tolist() == list(range(30))
    assert dataset.split("validation").tolist() == []
    assert dataset.split("test").tolist() == [30]
    with pytest.raises(InputError, match=r"31 is out of bounds.*it holds 31 shapes"):
        dataset.vertices(31)
    with pytest.raises(InputError, match="no shape was asked for, expected at least one of 31"):
        dataset.vertices([])
    with pytest.raises(InputError, match="split: 'exam' is unknown; expected train, validation, test"):
        dataset.split("exam")


def test_arrays_can_be_read_with_numpy_alone(undisturbed):
    with np.load(undisturbed / "shard_00001.npz") as shard:
        assert shard["index"].tolist() == [256, 257]
        assert shard["vertices"].dtype == shard["signals"].dtype == np.float32
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["splits"] == {"train": [0, 26136], "validation": [26136, 30636], "test": [30636, 35136]}


def test_bytes_do_not_depend_on_the_way(tmp_path, undisturbed):
    pieces = tmp_path / "pieces"
    make(pieces, indices=SPREAD[::-3], signals=None, settings=None)
    make(pieces, indices=SPREAD[1::4])
    make(pieces, indices=SPREAD[20:], signals=None, settings=None)
    with LocalProcesses(2) as executor:
        make(pieces, executor=executor)
    assert contents(pieces) == contents(undisturbed)


def test_what_is_there_is_not_made_again(tmp_path):
    def refuse(sample):
        raise AssertionError(sample.index)

    seen = []
    make(tmp_path, indices=SPREAD[:9])
    make(tmp_path, indices=SPREAD[:9], signals=refuse, progress=lambda *numbers: seen.append(numbers))
    assert seen == []
    make(tmp_path, indices=SPREAD[:20], progress=lambda *numbers: seen.append(numbers))
    assert seen == [(17, 20), (20, 20)]
    # without signals in this call, those of before stay
    assert len(make(tmp_path, signals=None, settings=None).signals(range(20))) == 20


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, undisturbed):
    for n_shards in (1, 3):
        run = subprocess.Popen([sys.executable, signals_of_shapes.__file__, tmp_path / "killed"])
        _until(lambda n=n_shards: len(list((tmp_path / "killed").glob("shard_*"))) >= n, run)
        run.kill()
        assert run.wait() == -signal.SIGKILL
        dataset = open_dataset(tmp_path / "killed")
        assert 0 < len(dataset) < len(SPREAD)
        assert torch.equal(dataset.signals(), open_dataset(undisturbed).signals(range(len(dataset))))
    # as if killed while a shard was written
    (tmp_path / "killed" / ".shard_00004.npz.x1y2").mkdir()
    (tmp_path / "killed" / ".shard_00004.npz.x1y2" / "shard_00004.npz").write_bytes(b"PK")
    make(tmp_path / "killed")
    assert contents(tmp_path / "killed") == contents(undisturbed)


def _until(condition, run):
    deadline = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_interrupt_keeps_complete_shards(tmp_path, undisturbed):
    def interrupt(done, total):
        if done > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LocalProcesses(1) as executor:
        make(tmp_path, progress=interrupt, executor=executor)
    kept = contents(tmp_path)
    assert kept.keys() == {"manifest.json", "template.npz", "shard_00000.npz", "shard_00001.npz"}
    assert kept.items() <= contents(undisturbed).items()


class Dying(Executor):
    """Runs at once, but for the first `deaths` tasks, of which it hears nothing."""

    def __init__(self, deaths):
        self.deaths = deaths

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        if self.deaths:
            self.deaths -= 1
            future.set_exception(BrokenExecutor("exit code -9"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_the_work_of_a_worker_that_died_is_handed_out_again(tmp_path, undisturbed):
    make(tmp_path, executor=Dying(2))
    assert contents(tmp_path) == contents(undisturbed)


def test_workers_that_always_die_are_an_error(tmp_path):
    with pytest.raises(TorreyError, match=r"dataset: workers die \(exit code -9\); complete shards are kept"):
        make(tmp_path, executor=Dying(1000))


def test_shapes_without_signals_are_said(tmp_path):
    dataset = make(tmp_path, indices=[0, 1, 300], signals=None, settings=None)
    with pytest.raises(
        FileError, match=r"shard_00000\.npz: has no array signals; making the data set again adds"
    ):
        dataset.signals()
    dataset = make(tmp_path, indices=[1, 300])
    with pytest.raises(InputError, match="1 of these shapes have no signals"):
        dataset.signals()
    assert dataset.signals([1, 2]).shape == (2, 6)


def test_warnings_of_signals_are_counted(tmp_path):
    with pytest.warns(AccuracyWarning) as caught:
        make(tmp_path, signals=coarse, indices=range(10))
    assert [str(each.message) for each in caught] == ["shape 1 is coarse; 5 such warnings of 10 shapes"]


def test_a_mixed_data_set_holds_the_families(tmp_path):
    mixed = Mixed()
    indices = [0, 26_136, 26_136 + 24_696, mixed.n_shapes - 1]
    dataset = make_dataset(tmp_path, mixed, indices=indices)
    assert dataset.parameters.keys() == {"bend", "twist", "amplitude", "count", "angle"}
    given = torch.stack(list(dataset.parameters.values())).isfinite()
    assert given.T.int().tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    assert torch.equal(dataset.vertices(0), BendTwist().sample(0).vertices.float())
    assert torch.equal(dataset.vertices(3), Fans().sample(35_135).vertices.float())


def edit(**values):
    def change(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def flip(name, *, at):
    def change(folder):
        content = bytearray((folder / name).read_bytes())
        content[int(at * len(content))] ^= 0xFF
        (folder / name).write_bytes(content)

    return change


def cut(name):
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def rename(old, new):
    return lambda folder: (folder / old).rename(folder / new)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (edit(format="other"), "manifest.json: format is 'other', expected 'torrey shapes'"),
        (edit(version=2), "manifest.json: version is 2, expected 1"),
        (edit(seed="2"), "manifest.json: seed is '2', expected"),
        (write("manifest.json", b"{"), "manifest.json: line 1: is not JSON"),
        (write("manifest.json", b"[1]"), r"manifest.json: format is \[1\], expected 'torrey shapes'"),
        (cut("shard_00002.npz"), "shard_00002.npz: is damaged .*delete it to have it made anew"),
        (flip("shard_00002.npz", at=0.5), "shard_00002.npz: is damaged .*delete it to have it made anew"),
        (write("shard_00002.npz", b""), "shard_00002.npz: is damaged"),
        (write("shard_00002.npz", b"no archive"), "shard_00002.npz: is no NumPy archive of numbers"),
        (rename("shard_00002.npz", "shard_00007.npz"), r"shard_00007.npz: index is .*expected some of 1792"),
        (write("template.npz", b"PK"), "template.npz: is no NumPy archive|template.npz: is damaged"),
        (lambda folder: (folder / "template.npz").unlink(), "template.npz: no such file"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json"),
    ],
)
def test_damage_is_one_line(tmp_path, undisturbed, damage, text):
    for name, content in contents(undisturbed).items():
        (tmp_path / name).write_bytes(content)
    damage(tmp_path)
    for use in (lambda: open_dataset(tmp_path).vertices(), lambda: make(tmp_path)):
        with pytest.raises(FileError, match=text) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"family": BendTwist()}, "manifest.json: family is fan, expected bend; a folder holds one data set"),
        ({"seed": 0}, "manifest.json: seed is 2, expected 0"),
        ({"template": prism(n_layers=30)}, "template.npz: holds a mesh of 315 vertices, expected .* of 465"),
        ({"template": prism(3.1)}, "template.npz: holds a mesh of 315 vertices, expected the template asked"),
        ({"settings": {"of": "b"}}, "manifest.json: signals.of is 'moments', expected 'b'"),
        ({"settings": {"of": "moments", "n": 1}}, "manifest.json: signals.n is None, expected 1"),
    ],
)
def test_a_data_set_takes_no_shapes_of_another(undisturbed, more, text):
    before = contents(undisturbed)
    with pytest.raises(FileError, match=text):
        make(undisturbed, **more)
    assert contents(undisturbed) == before


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(
        FileError, match=r"holds thesis\.txt and no manifest\.json, expected a data set or nothing"
    ):
        make(tmp_path)
    with pytest.raises(FileError, match=r"thesis\.txt: cannot be written"):
        make(tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(FileError, match=r"manifest\.json: no such file"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match="fan: sample 35136 does not exist"):
        make(tmp_path / "new", indices=[3, 35_136])
    with pytest.raises(InputError, match="seed: expected 0 … 2⁶³ − 1, got -1"):
        make(tmp_path / "new", seed=-1)
    assert not (tmp_path / "new").exists()


def test_signals_of_different_lengths_are_an_error(tmp_path):
    make(tmp_path, indices=[0])
    with pytest.raises(InputError, match=r"signals: \[6, 7\] values, expected as many of each shape"):
        make(tmp_path, indices=[0, 1], signals=lambda sample: torch.zeros(7))

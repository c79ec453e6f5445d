import json
from pathlib import Path

import numpy as np
import pytest

from torrey.errors import FileError
from torrey.experiments.store import ARRAYS, MANIFEST, RESULTS, TaskStore
from torrey.experiments.task import Outcome, task_key, task_seed

RECIPE = {"title": "a", "scale": {"starts": 2, "values": (1, 2)}}
SPEC = {"index": 3, "family": "bend"}


def filled(folder):
    with TaskStore(folder, RECIPE) as store:
        store.add(SPEC, Outcome({"d": 0.1}, {"curve": np.arange(6.0).reshape(2, 3).T}), seconds=1.5)
    return folder


def test_what_is_added_is_found_again(tmp_path):
    with TaskStore(filled(tmp_path), RECIPE) as store:
        record = store.record(task_key(SPEC))
        assert (record.spec, record.values, record.error, record.seconds) == (SPEC, {"d": 0.1}, None, 1.5)
        assert store.arrays(record.key)["curve"].tolist() == [[0, 3], [1, 4], [2, 5]]
        assert store.has(record.key)
        assert not store.has(task_key({**SPEC, "index": 4}))


def test_keys_depend_on_the_spec_and_not_on_its_order():
    # by `printf '{"family":"bend","index":3}' | sha256sum`
    assert task_key(SPEC) == task_key(dict(reversed(SPEC.items()))) == "b5e290c2fffe6920bbf3"
    assert task_seed(SPEC) != task_seed({**SPEC, "index": 4})


def test_a_line_cut_short_is_dropped_and_written_over(tmp_path):
    filled(tmp_path)
    line = (tmp_path / RESULTS).read_bytes()
    with (tmp_path / RESULTS).open("ab") as file:
        file.write(line[:-1])
    with TaskStore(tmp_path, RECIPE) as store:
        assert (tmp_path / RESULTS).read_bytes() == line
        store.add_failure({"index": 9}, "no", seconds=0.0)
    assert [json.loads(row)["error"] for row in (tmp_path / RESULTS).read_text().splitlines()] == [None, "no"]


def changed_manifest(folder, **values):
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DAMAGE = {
    "another version": (
        lambda folder: changed_manifest(folder, torrey="0.0.7"),
        "manifest.json: torrey is '0.0.7', expected '",
    ),
    "another format": (
        lambda folder: changed_manifest(folder, format_version=2),
        "manifest.json: format_version is 2, expected 1; take another folder",
    ),
    "another recipe": (
        lambda folder: changed_manifest(folder, recipe=RECIPE | {"scale": {"starts": 5, "values": [1, 2]}}),
        "results of another recipe: recipe.scale.starts is 5 there and 2 here",
    ),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "holds results.jsonl without manifest.json"),
    "not a manifest": (lambda folder: (folder / MANIFEST).write_text("[]"), "is not a manifest"),
    "damaged line": (
        lambda folder: (folder / RESULTS).write_text("{}\n"),
        "results.jsonl: line 1: is not a result",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_store_that_does_not_fit_is_refused_in_one_line(tmp_path, name):
    damage, message = DAMAGE[name]
    damage(filled(tmp_path))
    with pytest.raises(FileError) as caught:
        TaskStore(tmp_path, RECIPE)
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_arrays_are_named(tmp_path):
    with TaskStore(filled(tmp_path), RECIPE) as store:
        next((tmp_path / ARRAYS).iterdir()).write_bytes(b"nothing")
        with pytest.raises(FileError, match=r"safetensors: cannot be read"):
            store.arrays(task_key(SPEC))


def test_only_one_run_has_the_store(tmp_path):
    with TaskStore(tmp_path, RECIPE), pytest.raises(FileError, match="is in use by another run"):
        TaskStore(tmp_path, RECIPE)
    with TaskStore(tmp_path, RECIPE):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        TaskStore(Path(tmp_path / "file" / "store"), RECIPE)

"""`torrey reproduce` with a recipe of two small fits, and one line for each wrong input."""

import json
import socket
import sys
from pathlib import Path

import pytest

from torrey.cli import main

sys.path.insert(0, str(Path(__file__).parent / "experiments"))
import cheap_tasks

RECIPE = """
title = "Cylinders"
figure = "bars"
families = ["bend"]
layers = 8
shape = {bend = 0.0, twist = 0.0}
[protocol]
small_delta = 5
big_delta = [10]
bvals = [0, 2000]
directions = 6
[method.cylinder]
label = "fitted cylinder"
model = "cylinder"
[setting.paper]
reference = "same"
pose = "known"
[scale.minutes]
starts = 1
iterations = 5
repeats = 2
"""

RUN = ["reproduce", "table1", "--setting", "paper", "--recipe", "recipe.toml", "-o", "out", "--workers", "1"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_leaves_tables_figures_and_goes_on_from_its_store(folder, capsys, monkeypatch):
    monkeypatch.setattr("torrey.experiments.tasks.fit_shape", cheap_tasks.measures)
    assert main(RUN) == 0
    assert capsys.readouterr().out == "out/report.html: 2 fits\n"
    out = folder / "out"
    assert (out / "recipe.toml").read_text() == RECIPE
    rows = [row.split("\t") for row in (out / "results.tsv").read_text().splitlines()]
    found = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert [float(row["d_prime"]) for row in found] == [0.5, 0.6]
    assert (out / "table.md").read_text().endswith("| fitted cylinder | paper | 0.550 ± 0.071 (2) |\n")
    assert {path.name for path in out.glob("*.svg")} == {"paper_d_prime.svg", "paper_misfit.svg"}
    lines = (out / "store" / "results.jsonl").read_bytes()
    assert main(RUN) == 0
    assert (out / "store" / "results.jsonl").read_bytes() == lines  # nothing is computed again
    (out / "store" / "results.jsonl").write_text("")  # as if no fit had ended
    (folder / "recipe.toml").write_text(RECIPE.replace('"cylinder"', '"tube"'))
    assert main(RUN) == 2
    assert "manifest.json: results of another recipe: recipe.method.cylinder.model is 'cylinder'" in (
        capsys.readouterr().err
    )


def test_failed_fits_are_reported(folder, capsys):
    # Δ < δ: no such pulses
    (folder / "recipe.toml").write_text(RECIPE.replace("big_delta = [10]", "big_delta = [2]"))
    assert main(RUN) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("torrey: error: 2 of 2 fits failed, the first: InputError: ")
    assert message.endswith("see out/results.tsv, and the same command tries them again")
    assert "InputError" in (folder / "out" / "results.tsv").read_text()


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--recipe", "none.toml"], "none.toml: no such file"),
        (["--recipe", "wrong.toml"], "wrong.toml: tilte: unknown key; expected one of title"),
        (["--scale", "full", "--recipe", "recipe.toml"], "scale: full is not in the recipe, minutes are"),
        (["--setting", "both", "--recipe", "recipe.toml"], "setting: honest is not in the recipe, paper are"),
        (["--workers", "0"], "workers: expected at least 1, got 0"),
        (
            ["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"],
            "workers: those of a Dask scheduler are its own",
        ),
        (["-o", "file"], "file: cannot be written"),
        (["-o", "used"], "manifest.json: torrey is '0.0.7', expected"),
    ],
)
def test_a_wrong_input_is_one_line(folder, capsys, argv, words):
    (folder / "wrong.toml").write_text(RECIPE.replace("title", "tilte"))
    (folder / "file").write_text("")
    (folder / "used" / "store").mkdir(parents=True)
    manifest = {"format": "torrey tasks", "format_version": 1, "torrey": "0.0.7", "recipe": {}}
    (folder / "used" / "store" / "manifest.json").write_text(json.dumps(manifest))
    assert main(["reproduce", "bend", *(() if "-o" in argv else ("-o", "out")), *argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("torrey: error: ")
    assert said.err.count("\n") == 1
    assert words in said.err


def test_an_experiment_that_is_not_there(capsys):
    assert main(["reproduce", "table2", "-o", "out"]) == 2
    assert "table2" in capsys.readouterr().err


def test_a_scheduler_that_does_not_answer(capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("torrey.experiments.executors.SECONDS_TO_ANSWER", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        assert main([*RUN[:-2], "--scheduler", address]) == 2
    assert f"scheduler: {address} does not answer in" in capsys.readouterr().err.splitlines()[-1]


def test_a_scheduler_without_its_library(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    for scheduler in ("tcp://127.0.0.1:1", "slurm"):
        assert main([*RUN[:-2], "--scheduler", scheduler]) == 2
        assert 'pip install "torrey[cluster]"' in capsys.readouterr().err

"""Tables and figures of results made by hand, whose means and deviations are known."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
from test_recipe import TEXT, recipe_of

from torrey.experiments.figures import figures_of
from torrey.experiments.recipe import read_recipe, shipped_recipe
from torrey.experiments.results import write_results
from torrey.experiments.store import TaskStore
from torrey.experiments.tables import long_table, main_table, raw_table
from torrey.experiments.task import Outcome, task_key

SVG = "{http://www.w3.org/2000/svg}"


def d_prime(spec):
    """Return a value that is told apart by all that a table keeps apart."""
    return 0.101 + spec["point"].get("bend", 0) + 0.01 * spec["repeat"] + (spec["setting"] == "honest")


@pytest.fixture
def bent(tmp_path):
    recipe = recipe_of(tmp_path, TEXT)
    with TaskStore(tmp_path / "store", {}) as store:
        for spec in recipe.specs("minutes", ["paper", "honest"]):
            values = {"d_prime": d_prime(spec), "d_prime_vertices": 1.0, "misfit": 0.01, "volume_error": 0.0}
            curves = {"curve_iteration": np.arange(5), "curve_misfit": np.geomspace(1, 0.01, 5)}
            store.add(spec, Outcome(values, curves), seconds=2.0)
        keys = [task_key(spec) for spec in recipe.specs("minutes", ["paper", "honest"])]
        store.add_failure(store.record(keys[-1]).spec, "no, <never>", seconds=1.0)
        yield recipe, [store.record(key) for key in keys], store


def test_the_table_has_mean_deviation_and_number(bent):
    recipe, records, _ = bent
    table = main_table(recipe, records)
    assert table.columns == ("method", "setting", "bend 0", "bend 0.3")
    # three repeats, 0.01 apart
    assert table.rows[0] == ("Torrey, Δ 10", "paper", "0.111 ± 0.010 (3)", "0.411 ± 0.010 (3)")
    assert table.rows[-1] == ("Torrey, Δ 10+25", "honest", "1.11 ± 0.010 (3)", "1.41 ± 0.0071 (2)")
    assert len(table.rows) == 4


def test_the_summary_counts_failures(bent):
    recipe, records, _ = bent
    table = long_table(recipe, records)
    last = dict(zip(table.columns, table.rows[-1], strict=True))
    values = [1.401, 1.411]
    assert (last["n"], last["failed"], last["bend"], last["big_delta"]) == ("2", "1", "0.3", "10+25")
    assert float(last["d_prime_mean"]) == pytest.approx(fmean(values), rel=1e-5)
    assert float(last["d_prime_sd"]) == pytest.approx(stdev(values), rel=1e-5)
    raw = raw_table(recipe, records)
    assert len(raw.rows) == 24
    assert raw.rows[-1][-1] == "no, <never>"
    assert all(len(row) == len(raw.columns) for row in raw.rows)


def test_published_values_stand_beside(tmp_path):
    with shipped_recipe("table1") as path:
        recipe = read_recipe(path)
    with TaskStore(tmp_path, {}) as store:
        specs = recipe.specs("minutes", ["paper"])
        for spec in specs:
            store.add(spec, Outcome({"d_prime": 0.2, "misfit": 0.0}), seconds=1.0)
        table = main_table(recipe, [store.record(task_key(spec)) for spec in specs])
    assert table.columns == ("method", "setting", "bend", "bead", "fan")
    # Table 1 of arXiv 2502.01988
    assert table.rows[-2:] == (
        ("ReMiDi, published", "paper", "1.71 ± 0.261", "0.568 ± 0.0860", "7.43 ± 4.84"),
        ("MLP, published", "paper", "43.7 ± 15.0", "45.0 ± 5.13", "0.743 ± 0.240"),
    )
    assert table.rows[0] == ("Torrey", "paper", *["0.200 ± 0 (2)"] * 3)


def test_methods_that_predict_no_signal_have_no_misfit(tmp_path):
    with shipped_recipe("table1") as path:
        recipe = read_recipe(path)
    with TaskStore(tmp_path / "store", {}) as store:
        specs = recipe.specs("minutes", ["paper", "honest"])
        for spec in specs:
            values = {"d_prime": 0.2, "d_prime_vertices": 0.3, "volume_error": 0.1}
            guessed = spec["model"] in ("mlp", "network")
            store.add(spec, Outcome(values if guessed else {**values, "misfit": 0.02}), seconds=1.0)
        records = [store.record(task_key(spec)) for spec in specs]
        write_results(tmp_path, recipe, records, store)
        table = long_table(recipe, records)
        alone = figures_of(recipe, [r for r in records if r.spec["model"] == "mlp"], store)
    column = table.columns.index("misfit_mean")
    means = {row[table.columns.index("method")]: row[column] for row in table.rows}
    assert means["MLP, 256 wide, run here"] == means["residual network"] == ""
    assert means["Torrey"] == means["fitted cylinder"] == "0.02"
    assert (tmp_path / "honest_misfit.svg").exists()
    assert [figure.name for figure in alone] == ["paper_d_prime", "honest_d_prime"]


def test_the_figure_shows_means_and_deviations(bent):
    recipe, records, store = bent
    paper = next(figure for figure in figures_of(recipe, records, store) if figure.name == "paper_d_prime")
    drawing = ET.fromstring(paper.svg)
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert {"0", "0.3", "bend", "d′ (µm)", "Torrey, Δ 10", "Torrey, Δ 10+25"} <= set(texts)
    # the height of a logarithmic axis between two of its numbers tells that of a marker
    height = {text.text: float(text.get("y")) - 3.5 for text in drawing.iter(f"{SVG}text") if text.get("y")}
    per_decade = (height["0.1"] - height["0.2"]) / np.log10(2)
    markers = [p.get("d") for p in drawing.iter(f"{SVG}path") if p.get("stroke-linecap") == "round"]
    first, second = (float(part.split()[1].rstrip("h0") or 0) for part in markers[0].split("M")[1:])
    assert (first - second) / per_decade == pytest.approx(np.log10(0.411 / 0.111), abs=0.01)
    bar = next(p.get("d") for p in drawing.iter(f"{SVG}path") if (p.get("d") or "").count("h8") == 2)
    low, high = bar[1:].split("M")[0].split("V")
    assert (float(low.split()[1]) - float(high)) / per_decade == pytest.approx(np.log10(121 / 101), abs=0.01)


def test_curves_over_the_iterations(bent):
    recipe, records, store = bent
    figures = figures_of(replace(recipe, figure="curves"), records, store)
    assert [figure.name for figure in figures] == ["paper_bend_misfit", "honest_bend_misfit"]
    lines = [p for p in ET.fromstring(figures[0].svg).iter(f"{SVG}path") if p.get("stroke-linejoin")]
    assert len(lines) == 12
    steps = [float(step.split()[1]) for step in lines[0].get("d")[1:].split("L")]
    # a geometric sequence is straight on a logarithmic axis; drawn to a tenth
    assert np.diff(steps) == pytest.approx(np.full(4, (steps[-1] - steps[0]) / 4), abs=0.11)


def test_the_files_are_whole_and_need_no_network(tmp_path, bent):
    recipe, records, store = bent
    paths = write_results(tmp_path, recipe, records, store)
    assert {path.name for path in paths} == {
        *("table.tsv", "table.md", "summary.tsv", "results.tsv", "report.html"),
        *(f"{setting}_{name}.svg" for setting in ("paper", "honest") for name in ("d_prime", "misfit")),
    }
    page = (tmp_path / "report.html").read_text()
    assert "23 of 24 fits ended" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert (tmp_path / "table.md").read_text().count("\n| ") == 6

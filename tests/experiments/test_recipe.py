import json
from pathlib import Path

import pytest

from torrey.acquisition import electrostatic_directions
from torrey.errors import FileError, InputError
from torrey.experiments.problem import acquisition_of
from torrey.experiments.recipe import SHIPPED, read_recipe, shipped_recipe

TEXT = """
title = "d′ against bend"
figure = "lines"
families = ["bend"]
shape = {twist = 0.0}
[protocol]
small_delta = 5
big_delta = [10.0, 25.0]
bvals = [0, 1000]
directions = 6
[vary]
name = "bend"
label = "bend"
values = [0.0, 0.3]
[lines]
name = "big_delta"
label = "Δ"
values = [[10], [10, 25]]
[method.torrey]
label = "Torrey"
model = "tube"
[setting.paper]
reference = "same"
pose = "known"
[setting.honest]
reference = "finer"
pose = "unknown"
snr = 50
[scale.minutes]
starts = 1
iterations = 5
repeats = 3
"""


def recipe_of(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def test_it_says_everything_that_a_task_needs(tmp_path):
    specs = recipe_of(tmp_path, TEXT).specs("minutes", ["honest"])
    assert len(specs) == 2 * 2 * 3
    spec = specs[-1]
    assert spec["shape"] == {"bend": 0.3, "twist": 0.0}
    assert spec["protocol"] == {
        "small_delta": 5.0,
        "big_delta": [10.0, 25.0],
        "bvals": [0.0, 1000.0],
        "directions": 6,
    }
    assert specs[0]["protocol"]["big_delta"] == [10.0]
    assert (spec["setting"], spec["reference"], spec["pose"], spec["snr"]) == (
        "honest",
        "finer",
        "unknown",
        50,
    )
    assert (spec["method"], spec["model"], spec["optimiser"]) == ("torrey", "tube", "lm")
    assert (spec["starts"], spec["iterations"], spec["repeat"], spec["sample"]) == (1, 5, 2, None)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_have_all_settings_and_scales(name):
    with shipped_recipe(name) as path:
        recipe = read_recipe(path)
    counts = [len(recipe.specs(scale, ["paper", "honest"])) for scale in ("minutes", "hour", "full")]
    assert counts == sorted(counts)
    assert recipe.figure == {"table1": "bars", "convergence": "curves"}.get(name, "lines")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_shipped_recipes_measure_can_be_measured(name):
    with shipped_recipe(name) as path:
        specs = read_recipe(path).specs("minutes", ["honest"])
    protocols = {json.dumps(spec["protocol"]): spec["protocol"] for spec in specs}
    for protocol in protocols.values():
        acquisition = acquisition_of(protocol, electrostatic_directions(protocol["directions"]))
        n_shells = len(protocol["bvals"]) * len(protocol["big_delta"])
        assert acquisition.n_measurements == n_shells * protocol["directions"]


def test_table_1_has_thirty_shapes_of_each_family_none_of_them_trained_on():
    with shipped_recipe("table1") as path:
        specs = read_recipe(path).specs("full", ["paper"])
    specs = [spec for spec in specs if spec["method"] == "torrey"]
    assert len({(spec["family"], spec["sample"]) for spec in specs}) == len(specs) == 90
    # of 35 136 bends and 33 696 beads the last 4 500 are for tests
    assert min(spec["sample"] for spec in specs if spec["family"] == "bend") == 35_136 - 4_500
    assert min(spec["sample"] for spec in specs if spec["family"] == "bead") == 33_696 - 4_500


BAD = {
    "unknown key": ("figure =", "figures =", "figures: unknown key; expected one of title, figure"),
    "unknown key in a table": ("repeats = 3", "repeat = 3", "scale.minutes.repeat: unknown key"),
    "unknown scale": ("[scale.minutes]", "[scale.seconds]", "scale: is 'seconds'; expected minutes or hour"),
    "missing": ("directions = 6\n", "", "protocol.directions: is missing; expected a whole number"),
    "text for a number": ("snr = 50", 'snr = "50"', "setting.honest.snr: is '50'; expected a finite number"),
    "fraction": ("starts = 1", "starts = 1.5", "scale.minutes.starts: is 1.5; expected a whole number"),
    "truth value": ("starts = 1", "starts = true", "scale.minutes.starts: is True; expected a whole number"),
    "zero": ("starts = 1", "starts = 0", "scale.minutes.starts: is 0; expected at least 1"),
    "infinite": ("snr = 50", "snr = inf", "setting.honest.snr: is inf; expected a finite number"),
    "number for a list": ("bvals = [0, 1000]", "bvals = 0", "protocol.bvals: is 0; expected a list, each"),
    "empty list": ("bvals = [0, 1000]", "bvals = []", "protocol.bvals: is []; expected a list"),
    "bad item": ("bvals = [0, 1000]", 'bvals = [0, "x"]', "protocol.bvals[1]: is 'x'; expected a finite"),
    "number for a table": (
        "shape = {twist = 0.0}",
        "shape = 1",
        "shape: is 1; expected a table, each a finite",
    ),
    "unknown model": ('model = "tube"', 'model = "tub"', "method.torrey.model: is 'tub'; expected tube or"),
    "another family's": (
        "{twist = 0.0}",
        "{angle = 3}",
        "shape: angle, bend given, with what is varied; family",
    ),
    "nothing to vary": ("[vary]", "[published.bend]\nx = [1, 2]\n[shapes]", "shapes: unknown key"),
    "half a published value": (
        "[vary]",
        "[published.bend]\nx = [1]\n[vary]",
        "published.bend.x: expected mean",
    ),
    "a time, not a list": (
        "[[10], [10, 25]]",
        "[10, 25]",
        "values: one of big_delta is 10.0; expected lists of ms",
    ),
    "half a direction": (
        'name = "big_delta"\nlabel = "Δ"\nvalues = [[10], [10, 25]]',
        'name = "directions"\nlabel = "n"\nvalues = [6, 7.5]',
        "values: one of directions is 7.5; expected whole numbers",
    ),
    "not TOML": ("[vary]", "[vary", "not a TOML file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_recipe_is_one_line_that_names_file_and_key(tmp_path, name):
    old, new, message = BAD[name]
    assert old in TEXT
    with pytest.raises(FileError) as caught:
        recipe_of(tmp_path, TEXT.replace(old, new))
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "recipe.toml"))
    assert "\n" not in str(caught.value)


def test_lines_need_what_they_run_over(tmp_path):
    before, after = TEXT[: TEXT.index("[vary]")], TEXT[TEXT.index("[method") :]
    with pytest.raises(FileError, match="vary: is missing"):
        recipe_of(tmp_path, before.replace("shape = {twist = 0.0}", "") + after)


def test_a_scale_or_setting_that_is_not_there(tmp_path):
    recipe = recipe_of(tmp_path, TEXT)
    with pytest.raises(InputError, match="scale: full is not in the recipe, minutes are"):
        recipe.specs("full", ["paper"])


def test_the_example_in_the_documentation_is_a_recipe(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    (example,) = [block for block in page.split("```toml\n")[1:] if block.startswith("title")]
    # four bends twice
    assert len(recipe_of(tmp_path, example.split("```")[0]).specs("minutes", ["honest"])) == 8

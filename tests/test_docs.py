"""What the pages show works: Python blocks run, example files are read, links lead somewhere."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import torrey
from torrey.acquisition import read_acquisition, read_tsv
from torrey.run_settings import load_settings
from torrey.signal import read_tissue

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a page that are marked as `language`, or not marked where it is empty."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [body for mark, body in fences if mark == language]


@pytest.mark.parametrize("name", ["docs/quickstart.md", "README.md"])
def test_python_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    code = blocks(ROOT / name, "python")
    assert code
    session: dict = {}
    for block in code:
        exec(compile(block, name, "exec"), session)
    distance = torrey.metrics.chamfer_up_to_inversion(session["result"].mesh, session["mesh"], n_points=2000)
    # straight cylinders of radius 2 µm: 0.07 µm at noise of 1/200, 0.02 without
    assert distance < 0.15


def file_example(first_words: str, language: str = "") -> str:
    """Return the block of files.md that starts with `first_words`."""
    (found,) = [b for b in blocks(ROOT / "docs" / "files.md", language) if b.startswith(first_words)]
    return found


def test_examples_of_files_are_read(tmp_path):
    (tmp_path / "two.node").write_text(file_example("# two.node"))
    (tmp_path / "two.ele").write_text(file_example("# two.ele"))
    # two tets of base 8 µm² and height 4 µm
    assert float(torrey.read_mesh(tmp_path / "two.ele").volume) == pytest.approx(2 * 8 * 4 / 3)

    (tmp_path / "tree.swc").write_text(file_example("# id type"))
    assert torrey.mesh.read_swc(tmp_path / "tree.swc").parents.tolist() == [-1, 0, 1]

    (tmp_path / "signals.tsv").write_text(file_example("# normalised"))
    table = read_tsv(tmp_path / "signals.tsv")
    assert table.normalised is True
    assert table.signal.tolist() == [1, 0.7341, 0.5128]

    (tmp_path / "acq.scheme").write_text(file_example("VERSION"))
    # 0.1746 T/m was chosen to make b = 1000 s/mm², to four digits
    assert read_acquisition(tmp_path / "acq.scheme").bvals[1] == pytest.approx(1000, rel=1e-3)

    (tmp_path / "acq.toml").write_text(file_example("# acq.toml", "toml"))
    (tmp_path / "acq.bval").write_text("0 1000 1000\n")
    (tmp_path / "acq.bvec").write_text("0 1 0\n0 0 1\n0 0 0\n")
    assert read_acquisition(tmp_path / "acq.bval").big_delta.tolist() == [20, 20, 40]

    (tmp_path / "tissue.toml").write_text(file_example("diffusivity = 2.0", "toml"))
    assert float(read_tissue(tmp_path / "tissue.toml").T2) == 80
    (tmp_path / "tissue.toml").write_text(file_example("diffusivity = [", "toml"))
    assert read_tissue(tmp_path / "tissue.toml").n_compartments == 2

    (tmp_path / "run.toml").write_text(file_example("shape", "toml"))
    settings = load_settings(tmp_path / "run.toml")
    assert (settings.starts, settings.noise) == (8, 0.02)
    torrey.shape.Tube(**settings.options["tube"])
    torrey.inverse.LevenbergMarquardt(**settings.options["lm"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link.partition("#")[0] for link in links if not re.match(r"https?:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_pages_exist(page):
    text = page.read_text(encoding="utf-8")
    rooms = "fem|signal|mesh|acquisition|shape|inverse|report|tests"
    named = re.findall(rf"`((?:{rooms})/[\w/]+\.\w+)`", text)
    assert page.name not in ("theory.md", "layout.md") or named
    package = ROOT / "src" / "torrey"
    assert [name for name in named if not ((package / name).exists() or (ROOT / name).exists())] == []


def test_no_field_is_left_to_fill_in():
    assert re.findall(r"\{\w+: [^}]+\}", (ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_continuous_check_runs_the_readme_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    (pattern,) = re.findall(r"sed -n '([^']+)' README.md", script)
    done = subprocess.run(
        ["sed", "-n", pattern, "README.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    assert line.startswith("python3 -m venv .venv && ")
    assert line.endswith(" && .venv/bin/pytest")


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert torrey.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"\b{re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text())

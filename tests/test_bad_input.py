"""Bad input on the command line: one line that says what is wrong, exit code 2, nothing written."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import bad_input_files as make
from torrey.cli import main

SIMULATE = ("simulate", "pair.node", "--acquisition", "acq.tsv", "-o", "out.tsv")
RECONSTRUCT = ("reconstruct", "signals.tsv", "-o", "run")


@dataclass(frozen=True)
class Case:
    """`files` replace the good ones (None takes one away); `words` must all be in the message."""

    id: str
    argv: tuple[str, ...]
    words: tuple[str, ...]
    files: dict[str, str | bytes | None] = field(default_factory=dict)


def protocol_case(name: str, row: str, *words: str) -> Case:
    """A protocol whose second row is bad."""
    return Case(name, SIMULATE, ("acq.tsv", "line 3", *words), {"acq.tsv": make.protocol(make.ROWS[0], row)})


def simulate_with(**options: str) -> tuple[str, ...]:
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return (*SIMULATE, *flags)


def reconstruct_with(**options: str) -> tuple[str, ...]:
    return (*RECONSTRUCT, *(word for name, value in options.items() for word in (f"--{name}", value)))


def acquisition_from(name: str) -> tuple[str, ...]:
    return ("simulate", "pair.node", "--acquisition", name, "-o", "out.tsv")


def mesh_from(name: str) -> tuple[str, ...]:
    return ("simulate", name, "--acquisition", "acq.tsv", "-o", "out.tsv")


FSL = {
    "dwi.bval": "0 1000 2000\n",
    "dwi.bvec": "0 1 0\n0 0 0.6\n0 0 0.8\n",
    "dwi.toml": "small_delta = 5.0\nbig_delta = 20.0\n",
}
SCHEME_ROW = "1 0 0 0.04 0.02 0.005 0.03"

PROTOCOLS = [
    Case("missing protocol", SIMULATE, ("acq.tsv", "no such file"), {"acq.tsv": None}),
    Case("empty protocol", SIMULATE, ("acq.tsv", "empty"), {"acq.tsv": ""}),
    Case("protocol without a row", SIMULATE, ("acq.tsv", "no measurement"), {"acq.tsv": make.HEADER + "\n"}),
    Case("binary protocol", SIMULATE, ("acq.tsv", "binary", "text"), {"acq.tsv": b"\x89PNG\r\n\x00\xff\xfe"}),
    Case("wrong header", SIMULATE, ("acq.tsv", "header"), {"acq.tsv": make.protocol(header="x y z b")}),
    Case(
        "unknown kind of protocol", acquisition_from("acq.csv"), ("acq.csv", ".scheme"), {"acq.csv": "1,2\n"}
    ),
    protocol_case("too few columns", "1\t0\t0\t1000\t5\t20", "6 values", "expected 7"),
    protocol_case("word among numbers", "1\t0\tup\t1000\t5\t20\t25", "gz", "'up'", "number"),
    protocol_case("not a number", "1\t0\t0\tnan\t5\t20\t25", "bval", "nan", "finite"),
    protocol_case("infinite b", "1\t0\t0\tinf\t5\t20\t25", "bval", "inf", "finite"),
    protocol_case("negative b", "1\t0\t0\t-1000\t5\t20\t25", "-1000", "negative"),
    Case(
        "b of the whole protocol in ms per square micrometre",
        SIMULATE,
        ("acq.tsv", "ms/µm²", "expected s/mm²"),
        {"acq.tsv": make.protocol(make.ROWS[0], "1\t0\t0\t3\t5\t20\t25")},
    ),
    protocol_case("b in s per square metre", "1\t0\t0\t1e9\t5\t20\t25", "s/mm²"),
    protocol_case("direction of length 2", "2\t0\t0\t1000\t5\t20\t25", "length 2", "unit vector"),
    protocol_case("no direction at b > 0", "0\t0\t0\t1000\t5\t20\t25", "length 0", "unit vector"),
    protocol_case(
        "small_delta above big_delta", "1\t0\t0\t1000\t30\t20\t60", "small_delta 30", "big_delta 20"
    ),
    protocol_case("negative small_delta", "1\t0\t0\t1000\t-5\t20\t25", "small_delta", "-5", "positive"),
    protocol_case("times in s", "1\t0\t0\t1000\t0.005\t0.02\t0.025", "0.005", "ms"),
    protocol_case("echo before the second pulse", "1\t0\t0\t1000\t5\t20\t10", "echo_time 10", "25"),
    Case(
        "Pulseq without gradients",
        acquisition_from("a.seq"),
        ("a.seq", "no gradient between any excitation and its echo"),
        {"a.seq": make.PULSEQ},
    ),
    Case(
        "Pulseq with a missing pulse",
        acquisition_from("a.seq"),
        ("a.seq", "PyPulseq cannot read it"),
        {"a.seq": make.PULSEQ.replace("3  50   2", "3  50   7")},
    ),
    Case(
        "Pulseq cut short",
        acquisition_from("a.seq"),
        ("a.seq", "ends within [SHAPES]"),
        {"a.seq": make.PULSEQ.rstrip()},
    ),
    Case("no Pulseq", acquisition_from("a.seq"), ("a.seq", "[BLOCKS]"), {"a.seq": "hello\n"}),
    Case(
        "broken Pulseq",
        acquisition_from("a.seq"),
        ("a.seq", "PyPulseq cannot read it"),
        {"a.seq": make.PULSEQ.replace("500   0", "many   0")},
    ),
    Case(
        "scheme of another version",
        acquisition_from("a.scheme"),
        ("a.scheme", "STEJSKALTANNER"),
        {"a.scheme": make.scheme(SCHEME_ROW, version="VERSION: BVECTOR")},
    ),
    Case(
        "scheme in ms",
        acquisition_from("a.scheme"),
        ("a.scheme", "line 2", "DELTA is 20"),
        {"a.scheme": make.scheme("1 0 0 0.04 20 5 30")},
    ),
    Case(
        "scheme with a short line",
        acquisition_from("a.scheme"),
        ("a.scheme", "line 3", "expected 7"),
        {"a.scheme": make.scheme(SCHEME_ROW, "1 0 0 0.04")},
    ),
    Case(
        "FSL without bvec",
        acquisition_from("dwi.bval"),
        ("dwi.bvec", "no such file"),
        {**FSL, "dwi.bvec": None},
    ),
    Case(
        "FSL without timings",
        acquisition_from("dwi.bval"),
        ("dwi.toml", "no such file"),
        {**FSL, "dwi.toml": None},
    ),
    Case(
        "bvec of two rows",
        acquisition_from("dwi.bval"),
        ("dwi.bvec", "expected"),
        {**FSL, "dwi.bvec": "0 1 0\n0 0 1\n"},
    ),
    Case(
        "bvec and bval of different length",
        acquisition_from("dwi.bval"),
        ("dwi.bvec", "2", "expected 3"),
        {**FSL, "dwi.bvec": "0 1\n0 0\n0 0\n"},
    ),
    Case(
        "FSL timings without big_delta",
        acquisition_from("dwi.bval"),
        ("dwi.toml", "big_delta"),
        {**FSL, "dwi.toml": "small_delta = 5.0\n"},
    ),
    Case(
        "FSL timings in s",
        acquisition_from("dwi.bval"),
        ("dwi.toml", "ms"),
        {**FSL, "dwi.toml": "small_delta = 0.005\nbig_delta = 0.02\n"},
    ),
]

MESHES = [
    Case("missing mesh", mesh_from("no.vtu"), ("no.vtu", "does not exist")),
    Case("empty mesh", mesh_from("m.vtu"), ("m.vtu", "empty"), {"m.vtu": ""}),
    Case("mesh that is no mesh", mesh_from("m.vtu"), ("m.vtu",), {"m.vtu": "hello\n"}),
    Case(
        "binary under the name of a text mesh",
        SIMULATE,
        ("pair.node",),
        {"pair.node": b"\x00\xff\xfe\x89PNG"},
    ),
    Case("mesh of unknown kind", mesh_from("m.docx"), ("m.docx", "expected"), {"m.docx": "hello\n"}),
    Case("node without ele", SIMULATE, ("pair.ele", "does not exist"), {"pair.ele": None}),
    Case(
        "tet names a missing vertex",
        SIMULATE,
        ("pair", "17", "0 … 4"),
        make.tetgen(make.NODES, [(0, 1, 2, 3), (0, 2, 1, 17)]),
    ),
    Case("inverted tets", SIMULATE, ("pair", "6 of 1131 tets inverted"), make.folded()),
    Case(
        "flat tet",
        SIMULATE,
        ("pair", "degenerate"),
        make.tetgen([*make.NODES[:4], (1.0, 1.0, 0.0)], make.TETS),
    ),
    Case(
        "two parts",
        SIMULATE,
        ("pair", "2 parts"),
        make.tetgen(
            [*make.NODES[:4], *((x + 20, y, z) for x, y, z in make.NODES[:4])], [(0, 1, 2, 3), (4, 5, 6, 7)]
        ),
    ),
    Case(
        "mesh in metres",
        SIMULATE,
        ("pair", "µm"),
        make.tetgen([(x * 1e-6, y * 1e-6, z * 1e-6) for x, y, z in make.NODES], make.TETS),
    ),
    Case(
        "vertex that is not a number",
        SIMULATE,
        ("pair.node", "nan"),
        make.tetgen([*make.NODES[:4], (1.0, 1.0, float("nan"))], make.TETS),
    ),
    Case(
        "open surface",
        mesh_from("cube.off"),
        ("cube.off", "open surface"),
        {"cube.off": make.cube_surface(5)},
    ),
    Case(
        "closed surface without tets",
        mesh_from("cube.off"),
        ("cube.off", "closed surface", "tetrahedralize"),
        {"cube.off": make.cube_surface(6)},
    ),
]

NEURON = ("mesh", "neuron", "tree.swc", "-o", "out.vtu")
FILL = ("mesh", "fill", "cube.off", "-o", "out.vtu")
UNMATCHED = ("on or in another", "compartments 0 and 1", "same triangles")

MESHING = [
    Case("interfaces that do not match", SIMULATE, ("mesh", *UNMATCHED), make.unmatched()),
    Case(
        "interfaces that do not match, checked",
        ("mesh", "check", "pair.node"),
        ("pair.node", *UNMATCHED),
        make.unmatched(),
    ),
    Case("inverted tets, checked", ("mesh", "check", "pair.node"), ("pair.node", "inverted"), make.folded()),
    Case(
        "open surface, checked",
        ("mesh", "check", "cube.off"),
        ("cube.off", "is open"),
        {"cube.off": make.cube_surface(5)},
    ),
    Case("missing mesh, checked", ("mesh", "check", "no.vtu"), ("no.vtu", "does not exist")),
    Case("no mesh command", ("mesh", "chek"), ("chek",)),
    Case("missing tree", NEURON, ("tree.swc", "does not exist"), {"tree.swc": None}),
    Case("tree without nodes", NEURON, ("tree.swc", "no nodes"), {"tree.swc": "# only a comment\n"}),
    Case(
        "tree with a cycle",
        NEURON,
        ("tree.swc", "line 2", "parent", "cycle"),
        make.swc(make.SWC[0], "2 3 5 0 0 1 3", make.SWC[2]),
    ),
    Case(
        "tree with a zero radius",
        NEURON,
        ("tree.swc", "line 3", "radius", "0"),
        make.swc(*make.SWC[:2], "3 3 9 0 0 0 2"),
    ),
    Case(
        "tree with a negative radius",
        NEURON,
        ("tree.swc", "line 3", "radius", "-0.5"),
        make.swc(*make.SWC[:2], "3 3 9 0 0 -0.5 2"),
    ),
    Case(
        "tree with a parent that is not there",
        NEURON,
        ("tree.swc", "line 3", "parent 7"),
        make.swc(*make.SWC[:2], "3 3 9 0 0 0.5 7"),
    ),
    Case(
        "tree with two roots",
        NEURON,
        ("tree.swc", "line 3", "second of 2 trees"),
        make.swc(*make.SWC[:2], "3 3 9 0 0 0.5 -1"),
    ),
    Case(
        "tree with a short line",
        NEURON,
        ("tree.swc", "line 3", "5 columns", "expected 7"),
        make.swc(*make.SWC[:2], "3 3 9 0 0"),
    ),
    Case(
        "tree with long edges", (*NEURON, "--edge-over-radius", "2"), ("edge_over_radius", "2", "at most 1")
    ),
    Case("tree with negative edges", (*NEURON, "--edge-length", "-1"), ("edge_length", "-1", "µm")),
    Case("open surface to fill", FILL, ("cube.off", "is open"), {"cube.off": make.cube_surface(5)}),
    Case("fill over the surface", ("mesh", "fill", "cube.off", "-o", "cube.off"), ("cube.off", "input")),
    Case(
        "convert over a TetGen pair",
        ("mesh", "convert", "pair.node", "-o", "pair.ele"),
        ("pair.node", "input", "overwritten"),
    ),
    Case(
        "convert to an unknown kind",
        ("mesh", "convert", "pair.node", "-o", "out.xyz"),
        ("out.xyz", "unknown kind", ".vtu"),
    ),
    Case(
        "surface to a format of tets",
        ("mesh", "convert", "cube.off", "-o", "out.vtu"),
        ("out.vtu", "expected .ply"),
    ),
    Case(
        "repair to no surface",
        ("mesh", "repair", "cube.off", "-o", "out.ply", "--triangles", "3"),
        ("n_triangles", "3", "at least"),
    ),
    Case(
        "ball of no size", ("mesh", "sphere", "--radius", "0", "-o", "out.vtu"), ("radius", "0", "positive")
    ),
    Case("box of two lengths", ("mesh", "box", "--lengths", "1", "2", "-o", "out.vtu"), ("lengths",)),
]

SIGNALS = [
    Case("missing signals", RECONSTRUCT, ("signals.tsv", "no such file"), {"signals.tsv": None}),
    Case(
        "signals that are not numbers",
        RECONSTRUCT,
        ("signals.tsv", "line 4", "signal", "nan"),
        {"signals.tsv": make.signals("1", "nan", "0.5")},
    ),
    Case(
        "protocol in place of signals",
        RECONSTRUCT,
        ("signals.tsv", "no signal"),
        {"signals.tsv": make.protocol()},
    ),
    Case(
        "signals without normalised",
        RECONSTRUCT,
        ("signals.tsv", "line 1", "normalised"),
        {"signals.tsv": make.signals(first="")},
    ),
    Case(
        "cubic micrometres called normalised",
        RECONSTRUCT,
        ("signals.tsv", "250", "normalised: false"),
        {"signals.tsv": make.signals("300", "250", "200").replace("300", "3")},
    ),
    Case(
        "signal missing in a row",
        RECONSTRUCT,
        ("signals.tsv", "line 4", "7 values", "expected 8"),
        {"signals.tsv": make.signals().replace("\t0.7", "")},
    ),
    Case(
        "signals are a folder",
        ("reconstruct", "folder", "-o", "run"),
        ("folder", "expected a file"),
        {"folder/x": ""},
    ),
]

TISSUES = [
    Case("missing tissue", simulate_with(tissue="no.toml"), ("no.toml", "no such file")),
    Case("tissue that is no TOML", simulate_with(tissue="t.toml"), ("t.toml", "TOML"), {"t.toml": "D: 2\n"}),
    Case(
        "unknown tissue field",
        simulate_with(tissue="t.toml"),
        ("t.toml", "diffusion", "diffusivity"),
        {"t.toml": "diffusion = 2.0\n"},
    ),
    Case(
        "diffusivity in square metres per s",
        simulate_with(tissue="t.toml"),
        ("t.toml", "diffusivity", "µm²/ms"),
        {"t.toml": "diffusivity = 2e-9\n"},
    ),
    Case(
        "negative diffusivity",
        simulate_with(tissue="t.toml"),
        ("t.toml", "diffusivity", "positive"),
        {"t.toml": "diffusivity = -1.0\n"},
    ),
    Case(
        "T2 in microseconds",
        reconstruct_with(tissue="t.toml"),
        ("t.toml", "T2", "80000", "ms"),
        {"t.toml": "T2 = 80000\n"},
    ),
    Case(
        "diffusivity is a word",
        reconstruct_with(tissue="t.toml"),
        ("t.toml", "fast"),
        {"t.toml": 'diffusivity = "fast"\n'},
    ),
]

OPTIONS = [
    Case("no such command", ("simulat",), ("simulat",)),
    Case("no mesh", ("simulate", "--acquisition", "acq.tsv", "-o", "out.tsv"), ("MESH",)),
    Case("no output", ("simulate", "pair.node", "--acquisition", "acq.tsv"), ("--output",)),
    Case("unknown option", simulate_with(mode="3"), ("--mode",)),
    Case("modes is no number", simulate_with(modes="many"), ("--modes", "many")),
    Case("negative modes", simulate_with(modes="-3"), ("modes", "-3", "positive")),
    Case("two cuts", simulate_with(modes="30", tolerance="1e-3"), ("modes", "tolerance")),
    Case("order 3", simulate_with(order="3"), ("--order", "1, 2")),
    Case(
        "learned shape of nothing", reconstruct_with(shape="pca"), ("family", "--shape pca takes one", "bend")
    ),
    Case("unknown shape", reconstruct_with(shape="banana"), ("shape", "banana", "tube", "vertices")),
    Case("unknown optimiser", reconstruct_with(optimiser="sgd"), ("optimiser", "sgd", "lm", "adam")),
    Case("no start", reconstruct_with(starts="0"), ("starts", "0", "1 …")),
    Case("negative SNR", reconstruct_with(snr="-50"), ("snr", "-50", "positive")),
    Case("SNR is not a number", reconstruct_with(snr="nan"), ("snr", "nan", "positive")),
    Case("SNR and sigma", reconstruct_with(snr="50", sigma="0.02"), ("snr", "sigma", "one")),
    Case("sigma of another unit", reconstruct_with(sigma="20"), ("sigma", "20", "S(0)")),
    Case("negative seed", reconstruct_with(seed="-1"), ("seed", "-1")),
    Case("vertices without a template", reconstruct_with(shape="vertices"), ("--template",)),
    Case("tube with a template", reconstruct_with(template="pair.node"), ("--template",)),
    Case(
        "missing template",
        reconstruct_with(shape="vertices", template="no.vtu"),
        ("no.vtu", "does not exist"),
    ),
]

CONFIGS = [
    Case("missing settings", reconstruct_with(config="no.toml"), ("no.toml", "no such file")),
    Case(
        "settings that are no TOML",
        reconstruct_with(config="c.toml"),
        ("c.toml", "TOML"),
        {"c.toml": "starts 3"},
    ),
    Case(
        "unknown setting",
        reconstruct_with(config="c.toml"),
        ("c.toml", "start", "starts"),
        {"c.toml": "start = 3\n"},
    ),
    Case(
        "setting out of range",
        reconstruct_with(config="c.toml"),
        ("c.toml", "starts", "-3"),
        {"c.toml": "starts = -3\n"},
    ),
    Case(
        "setting of the wrong type",
        reconstruct_with(config="c.toml"),
        ("c.toml", "starts", "'many'"),
        {"c.toml": 'starts = "many"\n'},
    ),
    Case(
        "table that is a number",
        reconstruct_with(config="c.toml"),
        ("c.toml", "[tube]"),
        {"c.toml": "tube = 3\n"},
    ),
]

OUTPUTS = [
    Case(
        "output in a missing folder",
        ("simulate", "pair.node", "--acquisition", "acq.tsv", "-o", "no/out.tsv"),
        ("no/out.tsv", "no folder"),
    ),
    Case("output is a folder", SIMULATE, ("out.tsv", "folder"), {"out.tsv/x": ""}),
    Case(
        "output of unknown kind",
        ("simulate", "pair.node", "--acquisition", "acq.tsv", "-o", "out.xlsx"),
        ("out.xlsx", ".tsv"),
    ),
    Case(
        "output over the protocol",
        ("simulate", "pair.node", "--acquisition", "acq.tsv", "-o", "acq.tsv"),
        ("acq.tsv", "input"),
    ),
    Case(
        "output on a read-only file system",
        ("simulate", "pair.node", "--acquisition", "acq.tsv", "-o", "/proc/o.tsv"),
        ("/proc/o.tsv", "cannot be written"),
    ),
    Case("run folder is a file", RECONSTRUCT, ("run", "expected a folder"), {"run": ""}),
    Case(
        "run folder under a file",
        ("reconstruct", "signals.tsv", "-o", "acq.tsv/run"),
        ("acq.tsv/run", "expected a folder"),
    ),
    Case(
        "run folder on a read-only file system",
        ("reconstruct", "signals.tsv", "-o", "/proc/run"),
        ("/proc/run", "cannot be written"),
    ),
    Case("demo folder is a file", ("demo", "-o", "run"), ("run", "expected a folder"), {"run": ""}),
    Case(
        "run folder holds the input",
        ("reconstruct", "run/predicted.tsv", "-o", "run"),
        ("run/predicted.tsv", "input"),
        {"run/predicted.tsv": make.signals()},
    ),
]

CASES = [*PROTOCOLS, *MESHES, *MESHING, *SIGNALS, *TISSUES, *OPTIONS, *CONFIGS, *OUTPUTS]


def lay_out(folder: Path, files: dict[str, str | bytes | None]) -> None:
    for name, content in (make.GOOD | files).items():
        if content is None:
            continue
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def assert_one_line(message: str, words: tuple[str, ...]) -> None:
    assert message.startswith("torrey: error: ")
    assert message.count("\n") == 1
    assert message.endswith("\n")
    assert "Traceback" not in message
    for word in words:
        assert word in message


def test_table_holds_at_least_forty_different_inputs():
    assert len({case.id for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    lay_out(tmp_path, case.files)
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert main(case.argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert_one_line(err, case.words)
    assert contents(tmp_path) == before


def test_the_good_files_are_good(tmp_path, monkeypatch, capsys):
    """Each case differs from these in one thing, so that thing is what it tests."""
    lay_out(tmp_path, FSL | {"a.scheme": make.scheme(SCHEME_ROW)})
    monkeypatch.chdir(tmp_path)
    for name in ("acq.tsv", "dwi.bval", "a.scheme"):
        assert main((*acquisition_from(name), "--modes", "4", "--tissue", "tissue.toml")) == 0, (
            capsys.readouterr()
        )


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case.id in ("negative b", "inverted tets", "unknown option", "run folder is a file")
    ],
    ids=lambda case: case.id,
)
def test_bad_input_in_a_process_of_its_own(case, tmp_path):
    lay_out(tmp_path, case.files)
    before = contents(tmp_path)
    command = [sys.executable, "-m", "torrey.cli", *case.argv]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert_one_line(done.stderr, case.words)
    assert contents(tmp_path) == before

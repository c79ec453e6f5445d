import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torrey.acquisition import (
    Acquisition,
    electrostatic_directions,
    read_acquisition,
    read_fsl,
    read_scheme,
    read_tsv,
    write_acquisition,
    write_fsl,
    write_tsv,
)
from torrey.errors import FileError, InputError

HEADER = "gx\tgy\tgz\tbval\tsmall_delta\tbig_delta\techo_time"


@pytest.fixture
def protocol():
    generator = torch.Generator().manual_seed(1)
    directions = electrostatic_directions(7, generator=generator)
    bvals = torch.tensor([0.0, 5.0, 333.3333333333333, 1000.0, 2500.0, 4000.0, 12345.6789]).double()
    small = torch.linspace(1 / 3, 7, 7).double()
    return Acquisition.pgse(
        bvals, directions, small_delta=small, big_delta=small + 11.1, echo_time=2 * small + 13.7
    )


def assert_same(a, b):
    for name in ("small_delta", "big_delta", "echo_time", "bvals"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        a.gradients, b.gradients, rtol=1e-12, atol=1e-12 * float(b.gradients.abs().max())
    )


@pytest.mark.parametrize("name", ["p.tsv", "p.scheme", "p.bval", "p.bvals"])
def test_round_trip(tmp_path, protocol, name):
    write_acquisition(tmp_path / name, protocol)
    assert_same(read_acquisition(tmp_path / name), protocol)
    assert not list(tmp_path.glob(".*"))


@settings(max_examples=30, deadline=None)
@given(
    b=st.floats(20, 1e5),
    small=st.floats(0.1, 30),
    waits=st.tuples(st.floats(0, 100), st.floats(0, 100)),
    angle=st.floats(0, 2 * math.pi),
)
def test_any_measurement_survives_every_format(tmp_path_factory, b, small, waits, angle):
    gap, rest = waits
    folder = tmp_path_factory.mktemp("round")
    u = [[math.cos(angle), 0.0, math.sin(angle)]]
    a = Acquisition.pgse([b], u, small_delta=small, big_delta=small + gap, echo_time=2 * small + gap + rest)
    for name in ("p.tsv", "p.scheme", "p.bval"):
        write_acquisition(folder / name, a)
        assert_same(read_acquisition(folder / name), a)


def test_tsv_of_a_protocol_is_the_published_layout(tmp_path):
    a = Acquisition.pgse([0, 1000], [[0, 0, 0], [1, 0, 0]], small_delta=5.0, big_delta=25.0)
    write_tsv(tmp_path / "p.tsv", a)
    assert (tmp_path / "p.tsv").read_text() == f"{HEADER}\n0\t0\t0\t0\t5\t25\t30\n1\t0\t0\t1000\t5\t25\t30\n"


def test_tsv_of_a_signal_is_the_published_layout(tmp_path):
    a = Acquisition.pgse([1000], [[1, 0, 0]], small_delta=5.0, big_delta=25.0)
    write_tsv(tmp_path / "s.tsv", a, [0.25], normalised=True)
    text = f"# normalised: true\n{HEADER}\tsignal\n1\t0\t0\t1000\t5\t25\t30\t0.25\n"
    assert (tmp_path / "s.tsv").read_text() == text
    write_tsv(tmp_path / "c.tsv", a, torch.tensor([250 - 0.5j]), normalised=False)
    text = f"# normalised: false\n{HEADER}\tsignal\tsignal_imag\n1\t0\t0\t1000\t5\t25\t30\t250\t-0.5\n"
    assert (tmp_path / "c.tsv").read_text() == text


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("normalised", [True, False])
def test_signals_round_trip(tmp_path, protocol, dtype, normalised):
    signal = torch.randn(7, dtype=dtype, generator=torch.Generator().manual_seed(2))
    write_tsv(tmp_path / "s.tsv", protocol, signal, normalised=normalised)
    table = read_tsv(tmp_path / "s.tsv")
    assert_same(table.acquisition, protocol)
    assert table.normalised is normalised
    assert table.signal.dtype == dtype
    torch.testing.assert_close(table.signal, signal, rtol=1e-12, atol=0)


def test_a_protocol_has_no_signal(tmp_path, protocol):
    write_tsv(tmp_path / "p.tsv", protocol)
    table = read_tsv(tmp_path / "p.tsv")
    assert table.signal is None
    assert table.normalised is None


@pytest.mark.parametrize(
    ("signal", "normalised", "message"),
    [
        ([1.0] * 6, True, "signal: expected shape"),
        ([1.0] * 6 + [math.nan], True, "row 6: signal is nan"),
        (torch.full((7,), complex(0, math.inf)), True, "row 0: signal is inf"),
        (["a"] * 7, True, "signal: expected real numbers"),
        ([1.0] * 7, None, "normalised"),
    ],
)
def test_bad_signals_are_not_written(tmp_path, protocol, signal, normalised, message):
    with pytest.raises(InputError, match=message):
        write_tsv(tmp_path / "s.tsv", protocol, signal, normalised=normalised)
    assert not list(tmp_path.iterdir())


def test_scheme_is_in_si_units(tmp_path):
    # A line as Camino's manual has it: T/m and s.
    (tmp_path / "p.scheme").write_text("# made by hand\nVERSION: STEJSKALTANNER\n0 0 1 0.04 0.03 0.02 0.06\n")
    a = read_scheme(tmp_path / "p.scheme")
    assert a.gradients[0].tolist() == pytest.approx([0, 0, 40])
    assert (float(a.big_delta), float(a.small_delta), float(a.echo_time)) == pytest.approx((30, 20, 60))
    # b = γ²G²δ²(Δ − δ/3) in SI, 1e-6 for s/mm².
    assert float(a.bvals) == pytest.approx((2.6752218744e8 * 0.04 * 0.02) ** 2 * (0.03 - 0.02 / 3) * 1e-6)


@pytest.mark.parametrize("layout", ["3×N", "N×3"])
def test_fsl_takes_both_layouts(tmp_path, protocol, layout):
    write_fsl(tmp_path / "a.bval", tmp_path / "a.bvec", protocol)
    if layout == "N×3":
        rows = [line.split() for line in (tmp_path / "a.bvec").read_text().splitlines()]
        (tmp_path / "a.bvec").write_text("\n".join(" ".join(column) for column in zip(*rows, strict=True)))
        (tmp_path / "a.bval").write_text((tmp_path / "a.bval").read_text().replace(" ", "\n"))
    a = read_fsl(
        tmp_path / "a.bval",
        tmp_path / "a.bvec",
        small_delta=protocol.small_delta,
        big_delta=protocol.big_delta,
        echo_time=protocol.echo_time,
    )
    assert_same(a, protocol)


def test_fsl_with_scalar_timings(tmp_path):
    (tmp_path / "a.bval").write_text("0 1000 2000\n")
    (tmp_path / "a.bvec").write_text("0 1 0\n0 0 0\n0 0 1\n")
    (tmp_path / "a.toml").write_text("small_delta = 5\nbig_delta = 25.0\n")
    a = read_acquisition(tmp_path / "a.bval")
    assert a.bvals.tolist() == pytest.approx([0, 1000, 2000])
    # Three rows of three values are 3×N: the second direction is x and the third z.
    assert a.bvecs[1:].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert a.echo_time.tolist() == [30, 30, 30]


def tsv(*rows, header=HEADER, first=""):
    return first + "\n".join([header, *("\t".join(row.split()) for row in rows)]) + "\n"


SIGNAL = {"header": HEADER + "\tsignal", "first": "# normalised: true\n"}
GOOD = "1 0 0 1000 5 25 30"
CAMINO = "VERSION: STEJSKALTANNER\n"
FSL = {"p.bval": "0 1000", "p.bvec": "0 1\n0 0\n0 0", "p.toml": "small_delta = 5\nbig_delta = 25"}

# Name of the file to read, the files there are, and what the message says after the name of the culprit.
BAD = {
    "missing": ("p.tsv", {}, r"p.tsv: no such file"),
    "folder": ("folder.tsv", {}, r"folder.tsv: is a folder"),
    "empty": ("p.tsv", {"p.tsv": ""}, r"p.tsv: is empty"),
    "binary": ("p.tsv", {"p.tsv": b"\x89PNG\r\n\x1a\n\xff\xfe"}, r"p.tsv: is binary"),
    "zero bytes": ("p.tsv", {"p.tsv": b"gx\0gy\0"}, r"p.tsv: is binary"),
    "unknown suffix": ("p.csv", {"p.csv": "1"}, r"p.csv: unknown kind of protocol file"),
    "tsv without header": ("p.tsv", {"p.tsv": GOOD}, r"p.tsv: line 1 is .* expected the header gx"),
    "tsv of comments": (
        "p.tsv",
        {"p.tsv": "# a\n"},
        r"p.tsv: the first line is '' .*|p.tsv: the first line is",
    ),
    "tsv header only": ("p.tsv", {"p.tsv": HEADER}, r"p.tsv: has no measurement"),
    "tsv short row": (
        "p.tsv",
        {"p.tsv": tsv(GOOD, "1 0 0 1000 5 25")},
        r"p.tsv: line 3: 6 values; expected 7",
    ),
    "tsv long row": ("p.tsv", {"p.tsv": tsv(GOOD + " 1")}, r"p.tsv: line 2: 8 values; expected 7"),
    "tsv of words": ("p.tsv", {"p.tsv": tsv("1 0 0 b0 5 25 30")}, r"p.tsv: line 2: bval is 'b0'"),
    "tsv NaN": ("p.tsv", {"p.tsv": tsv("1 0 0 1000 nan 25 30")}, r"p.tsv: line 2: small_delta is nan"),
    "tsv direction": (
        "p.tsv",
        {"p.tsv": tsv(GOOD, "1 1 0 1000 5 25 30")},
        r"p.tsv: line 3: direction .* 1.41421",
    ),
    "tsv negative b": (
        "p.tsv",
        {"p.tsv": tsv("1 0 0 -1000 5 25 30")},
        r"p.tsv: line 2: b-value -1000 is neg",
    ),
    "tsv b in ms/µm²": (
        "p.tsv",
        {"p.tsv": tsv("1 0 0 1 5 25 30")},
        r"p.tsv: bvals: the largest is 1, .* s/mm²",
    ),
    "tsv δ > Δ": ("p.tsv", {"p.tsv": tsv("1 0 0 1000 25 5 30")}, r"p.tsv: line 2: small_delta 25 ms exceeds"),
    "tsv times in s": ("p.tsv", {"p.tsv": tsv("1 0 0 1000 .005 .025 .03")}, r"p.tsv: line 2: .* expected ms"),
    "tsv echo": ("p.tsv", {"p.tsv": tsv("1 0 0 1000 5 25 20")}, r"p.tsv: line 2: echo_time 20 ms is shorter"),
    "signal NaN": ("p.tsv", {"p.tsv": tsv(GOOD + " nan", **SIGNAL)}, r"p.tsv: line 3: signal is nan"),
    "signal not said": (
        "p.tsv",
        {"p.tsv": tsv(GOOD + " 1", header=SIGNAL["header"])},
        r"p.tsv: line 1 is .* expected `# normalised: true`",
    ),
    "signal said wrongly": (
        "p.tsv",
        {"p.tsv": tsv(GOOD + " 1", header=SIGNAL["header"], first="# normalised: yes\n")},
        r"p.tsv: line 1 is '# normalised: yes'",
    ),
    "signal in µm³": (
        "p.tsv",
        {"p.tsv": tsv(GOOD + " 523", **SIGNAL)},
        r"p.tsv: line 3: signal 523 is no S/S",
    ),
    "scheme version": (
        "p.scheme",
        {"p.scheme": "0 0 1 .04 .03 .02 .06"},
        r"p.scheme: line 1 .* VERSION: STEJ",
    ),
    "scheme of b-values": (
        "p.scheme",
        {"p.scheme": "VERSION: BVECTOR\n0 0 1 1000"},
        r"p.scheme: line 1 is 'VERSION: BVECTOR'",
    ),
    "scheme columns": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 1 .04"},
        r"p.scheme: line 2: 4 values; expected 7",
    ),
    "scheme empty": ("p.scheme", {"p.scheme": CAMINO}, r"p.scheme: has no measurement"),
    "scheme in ms": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 1 .04 30 20 60"},
        r"line 2: DELTA is 30; .* \(s\)",
    ),
    "scheme in mT/m": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 1 40 .03 .02 .06"},
        r"line 2: \|G\| is 40, .* in T/m",
    ),
    "scheme negative": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 1 -.04 .03 .02 .06"},
        r"line 2: \|G\| is -0.04",
    ),
    "scheme direction": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 2 .04 .03 .02 .06"},
        r"line 2: direction .* 2;",
    ),
    "scheme δ > Δ": (
        "p.scheme",
        {"p.scheme": CAMINO + "0 0 1 .04 .02 .03 .06"},
        r"line 2: small_delta 30 ms exc",
    ),
    "no bval": ("p.bval", {"p.toml": FSL["p.toml"]}, r"p.bval: no such file"),
    "no bvec": ("p.bval", {**FSL, "p.bvec": None}, r"p.bvec: no such file"),
    "no timings": ("p.bval", {**FSL, "p.toml": None}, r"p.toml: no such file; expected the timings"),
    "bvec 2×N": ("p.bval", {**FSL, "p.bvec": "0 1\n0 0"}, r"p.bvec: 2 rows of 2 values; expected 3×N or N×3"),
    "bvec ragged": (
        "p.bval",
        {**FSL, "p.bvec": "0 1\n0 0\n0"},
        r"p.bvec: 3 rows of 1 or 2 values; expected 3×N",
    ),
    "counts differ": (
        "p.bval",
        {**FSL, "p.bvec": "0 1 1\n0 0 0\n0 0 0"},
        r"p.bvec: 3 directions; expected 2",
    ),
    "bvec not unit": (
        "p.bval",
        {**FSL, "p.bvec": "0 3\n0 0\n0 0"},
        r"p.bvec: measurement 2: direction .* 3;",
    ),
    "bvec NaN": ("p.bval", {**FSL, "p.bvec": "nan 1\n0 0\n0 0"}, r"p.bvec: line 1: bvec is nan"),
    "bval negative": ("p.bval", {**FSL, "p.bval": "0 -1"}, r"p.bval: measurement 2: b-value -1 is negative"),
    "bval of words": ("p.bval", {**FSL, "p.bval": "0 b"}, r"p.bval: line 1: bval is 'b'"),
    "bval a matrix": ("p.bval", {**FSL, "p.bval": "0 1\n0 1"}, r"p.bval: 2 rows; expected one row"),
    "bval comment": ("p.bval", {**FSL, "p.bval": "# none"}, r"p.bval: has no b-value"),
    "timings no TOML": ("p.bval", {**FSL, "p.toml": "small_delta: 5"}, r"p.toml: not a TOML file"),
    "timings missing": ("p.bval", {**FSL, "p.toml": "small_delta = 5"}, r"p.toml: big_delta is missing"),
    "timings unknown": (
        "p.bval",
        {**FSL, "p.toml": "delta = 5"},
        r"p.toml: unknown field delta; expected small",
    ),
    "timings in s": (
        "p.bval",
        {**FSL, "p.toml": "small_delta = 0.005\nbig_delta = 0.025"},
        r"p.toml: measurement 1: small_delta 0.005 is outside .* expected ms",
    ),
    "timings of words": (
        "p.bval",
        {**FSL, "p.toml": "small_delta = '5'\nbig_delta = 25"},
        r"p.toml: small_delta: expected real numbers, got '5'",
    ),
    "timings too many": (
        "p.bval",
        {**FSL, "p.toml": "small_delta = [5, 5, 5]\nbig_delta = 25"},
        r"p.toml: small_delta: expected one value or 2",
    ),
}


@pytest.mark.parametrize(("name", "files", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_one_line_that_names_file_and_field(tmp_path, name, files, message):
    (tmp_path / "folder.tsv").mkdir()
    for file, content in files.items():
        if isinstance(content, bytes):
            (tmp_path / file).write_bytes(content)
        elif content is not None:
            (tmp_path / file).write_text(content)
    with pytest.raises(FileError, match=message) as caught:
        read_acquisition(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["p.tsv", "p.scheme", "p.bval"])
def test_a_folder_that_is_not_there_cannot_be_written(tmp_path, protocol, name):
    with pytest.raises(FileError, match="cannot be written"):
        write_acquisition(tmp_path / "none" / name, protocol)


def test_a_folder_in_the_way_is_left_alone(tmp_path, protocol):
    (tmp_path / "p.tsv").mkdir()
    with pytest.raises(FileError, match=r"p\.tsv: cannot be written"):
        write_acquisition(tmp_path / "p.tsv", protocol)
    assert [path.name for path in tmp_path.iterdir()] == ["p.tsv"]


@pytest.mark.skipif(sys.platform == "win32", reason="/proc is where nobody may write, on Linux")
def test_a_folder_without_permission_cannot_be_written(protocol):
    with pytest.raises(FileError, match="cannot be written"):
        write_acquisition("/proc/p.tsv", protocol)


def test_unknown_kind_is_not_written(tmp_path, protocol):
    with pytest.raises(FileError, match="unknown kind"):
        write_acquisition(tmp_path / "p.csv", protocol)

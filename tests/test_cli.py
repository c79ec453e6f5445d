import io
import json
import sys
import warnings
from pathlib import Path

import pytest
import torch

import bad_input_files as make
import torrey
from torrey import inverse
from torrey import shape as shapes
from torrey.acquisition import read_acquisition, read_tsv
from torrey.cli import main
from torrey.errors import AccuracyWarning, FileError, InputError
from torrey.inverse.result import Iteration, Reconstruction
from torrey.report.files import RUN_FILES
from torrey.run_settings import RunSettings, build, load_settings
from torrey.terminal import fitting, warnings_as_lines

SIMULATE = ("simulate", "cylinder.vtu", "--acquisition", "acq.tsv", "-o", "out.tsv")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a cylinder, a protocol, signals and a tissue."""
    for name, content in make.GOOD.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    torrey.write_mesh(torrey.mesh.cylinder(radius=2.0, length=8.0), tmp_path / "cylinder.vtu")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reconstruction(monkeypatch) -> Reconstruction:
    monkeypatch.syspath_prepend(Path(__file__).parent / "report")
    from handmade import box_mesh, make_reconstruction

    return make_reconstruction(box_mesh(2, 2, 4, size=(2.0, 2.0, 8.0)))


class Recorder:
    """Stands where a function of the library does, and keeps what it was called with."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def __call__(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return self.answer


@pytest.fixture
def fit(monkeypatch, reconstruction) -> Recorder:
    """`torrey.inverse.reconstruct` replaced by one that answers at once."""
    recorder = Recorder(reconstruction)
    monkeypatch.setattr(inverse, "reconstruct", recorder)
    return recorder


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{torrey.__version__}\n"


@pytest.mark.parametrize("argv", [[], ["--help"], ["simulate", "--help"], ["reconstruct", "--help"]])
def test_help(argv, capsys):
    assert main(argv) == 0
    assert "Usage: torrey" in capsys.readouterr().out


def test_simulate_writes_what_the_library_returns(folder, capsys):
    assert main([*SIMULATE, "--modes", "20", "--tissue", "tissue.toml"]) == 0
    table = read_tsv("out.tsv")
    expected = torrey.simulate(
        torrey.read_mesh("cylinder.vtu"),
        torrey.Tissue(diffusivity=2.0),
        read_acquisition("acq.tsv"),
        solver=torrey.MatrixFormalism(modes=20),
    )
    assert table.normalised is False
    # the file holds 15 digits
    assert torch.allclose(table.signal, expected.real, rtol=1e-13)
    # the first measurement has no gradient: its signal is the volume, 100.5 µm³ for the perfect cylinder
    assert float(table.signal[0]) == pytest.approx(torch.pi * 4 * 8, rel=0.02)
    assert capsys.readouterr().out.startswith("out.tsv: 3 signals of a volume of 10")


def test_second_order_elements_are_passed_on(folder):
    assert main([*SIMULATE, "--modes", "20"]) == 0
    first = read_tsv("out.tsv").signal
    assert main([*SIMULATE, "--modes", "20", "--order", "2"]) == 0
    assert not torch.allclose(first, read_tsv("out.tsv").signal, rtol=1e-6)


def test_accuracy_warning_is_one_line_and_the_signals_are_written(folder, capsys):
    assert main([*SIMULATE, "--modes", "2"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("torrey: warning: ") for line in lines)
    assert (folder / "out.tsv").exists()


def test_warnings_are_said_once_and_other_warnings_pass(capsys, recwarn):
    with warnings_as_lines():
        for _ in range(2):
            warnings.warn("off by\n0.01", AccuracyWarning, stacklevel=1)
    assert capsys.readouterr().err == "torrey: warning: off by 0.01\n"


def test_interrupt_is_one_line_and_130(folder, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("torrey.signal.simulate", interrupt)
    before = sorted(folder.iterdir())
    assert main([*SIMULATE, "--modes", "4"]) == 130
    assert capsys.readouterr().err == "torrey: interrupted, nothing written\n"
    assert sorted(folder.iterdir()) == before


def test_reconstruct_passes_the_settings_and_writes_the_run(folder, fit, capsys):
    flags = ["--starts", "3", "--snr", "50", "--seed", "7", "--tissue", "tissue.toml"]
    assert main(["reconstruct", "signals.tsv", "-o", "run", *flags]) == 0
    (((signal, acquisition, tissue), options),) = fit.calls
    assert signal.tolist() == [1.0, 0.7, 0.5]
    assert acquisition.bvals.tolist() == pytest.approx([0, 1000, 2000])
    assert float(tissue.diffusivity) == 2.0
    assert options["n_starts"] == 3
    assert options["sigma"] == pytest.approx(0.02)
    assert options["normalised"] is True
    assert options["generator"].initial_seed() == 7
    assert isinstance(options["shape"], shapes.Tube)
    assert isinstance(options["optimiser"], inverse.LevenbergMarquardt)
    assert sorted(p.name for p in (folder / "run").iterdir()) == sorted(RUN_FILES)
    assert json.loads((folder / "run" / "result.json").read_text())["misfit"] == 0.0043219
    out = capsys.readouterr().out
    # 9 of logspace(-2.5, 0.8, 20) are below 0.1 µm; the box holds 32 µm³
    assert out == (
        "run/report.html: misfit 4.32e-03 of S(0), volume 32 µm³, "
        "9 of 20 directions known to 0.1 µm, 83.4 s\n"
    )


def test_what_is_not_given_is_left_to_the_library(folder, fit):
    assert main(["reconstruct", "signals.tsv", "-o", "run"]) == 0
    options = fit.calls[0][1]
    assert "n_starts" not in options
    assert options["sigma"] is None


def test_vertices_start_from_the_template(folder, fit):
    argv = ["reconstruct", "signals.tsv", "-o", "run", "--shape", "vertices", "--template", "cylinder.vtu"]
    assert main([*argv, "--optimiser", "adam"]) == 0
    options = fit.calls[0][1]
    assert isinstance(options["shape"], shapes.Vertices)
    assert isinstance(options["optimiser"], inverse.Adam)


def test_settings_file_reaches_the_shape_and_flags_win(folder, fit):
    (folder / "run.toml").write_text(
        "starts = 2\nsnr = 20\nseed = 5\n[tube]\nn_control = 6\n", encoding="utf-8"
    )
    argv = ["reconstruct", "signals.tsv", "-o", "run", "--config", "run.toml"]
    assert main([*argv, "--starts", "4", "--sigma", "0.1"]) == 0
    options = fit.calls[0][1]
    assert (options["n_starts"], options["sigma"]) == (4, 0.1)
    assert options["generator"].initial_seed() == 5
    assert options["shape"].n_control == 6


def test_unknown_option_of_a_table_is_one_line(folder, fit, capsys):
    (folder / "run.toml").write_text("[tube]\nknots = 6\n", encoding="utf-8")
    assert main(["reconstruct", "signals.tsv", "-o", "run", "--config", "run.toml"]) == 2
    assert capsys.readouterr().err.startswith(
        "torrey: error: [tube]: unknown option knots; expected n_control"
    )
    assert fit.calls == []


@pytest.mark.parametrize(
    ("options", "model", "n_latent"),
    [
        (["--shape", "sweep"], shapes.Sweep, 35),
        (["--shape", "sweep", "--family", "bead"], shapes.Sweep, 22),
        (["--shape", "pca", "--family", "fan"], shapes.PCA, 5),
        (["--shape", "autoencoder", "--family", "bend"], shapes.Autoencoder, 16),
        (["--shape", "spectral"], shapes.Spectral, 96),
    ],
)
def test_shapes_of_canonical_pose_are_turned_by_the_fit(folder, fit, options, model, n_latent):
    assert main(["reconstruct", "signals.tsv", "-o", "run", *options]) == 0
    _, given = fit.calls[0]
    posed = given["shape"]
    assert isinstance(posed, shapes.Posed)
    assert isinstance(posed.model, model)
    assert posed.n_latent == n_latent + 3
    assert posed.n_candidates == posed.model.n_candidates
    assert posed.start_margin == posed.model.start_margin


def test_demo_reconstructs_the_signals_that_ship(tmp_path, fit, capsys):
    assert main(["demo", "-o", str(tmp_path / "demo")]) == 0
    (signal, acquisition, _), options = fit.calls[0]
    assert len(signal) == acquisition.n_measurements > 50
    assert options["n_starts"] == 3
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'demo' / 'report.html'}: misfit ")


def test_settings_default_to_the_tube():
    settings = load_settings(None, snr=None, seed=None)
    assert settings == RunSettings()
    assert (settings.shape, settings.optimiser, settings.noise) == ("tube", "lm", None)


def test_noise_is_the_inverse_of_snr():
    assert RunSettings(snr=40).noise == 0.025
    assert RunSettings(sigma=0.03).noise == 0.03


def test_settings_errors_tell_file_from_flag(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = -1\n")
    with pytest.raises(FileError, match=r"c\.toml: seed: expected 0"):
        load_settings(path)
    path.write_text("seed = 1\n")
    with pytest.raises(InputError, match=r"^starts: expected 1"):
        load_settings(path, starts=0)


def test_build_names_the_table():
    def made(template, *, size=1):
        return template + size

    assert build(made, {"size": 4}, table="t", template=1) == 5
    with pytest.raises(InputError, match=r"\[t\]: unknown option template; expected size"):
        build(made, {"template": 4}, table="t", template=1)
    with pytest.raises(InputError, match=r"\[t\]: an option has the wrong type"):
        build(made, {"size": "big"}, table="t", template=1)


ITERATIONS = [Iteration(0, "low b", 0, 0.1, 0.0), Iteration(1, "all b", 3, 0.02, 1.0)]


def test_off_a_terminal_progress_is_a_line_now_and_then(monkeypatch, capsys):
    with fitting(2) as progress:
        for iteration in ITERATIONS:
            progress(iteration)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("torrey.terminal.SECONDS_BETWEEN_LINES", 0.0)
    with fitting(2) as progress:
        for iteration in ITERATIONS:
            progress(iteration)
    assert capsys.readouterr().err.splitlines() == [
        "torrey: start 1, low b, iteration 0, misfit 1.00e-01",
        "torrey: start 2, all b, iteration 3, misfit 2.00e-02",
    ]


@pytest.mark.parametrize("n_starts", [2, None])
def test_on_a_terminal_the_bar_shows_the_misfit(monkeypatch, n_starts):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    with fitting(n_starts) as progress:
        for iteration in ITERATIONS:
            progress(iteration)
    assert "iteration 3, misfit 2.00e-02, best 2.00e-02" in terminal.getvalue()

"""`torrey dataset` against another solver, closed forms, and what becomes of it when it is stopped."""

import math
import signal
import subprocess
import sys
import time

import pytest
import torch

from torrey.acquisition import remidi_protocol
from torrey.cli import main
from torrey.mesh import prism
from torrey.shape import open_dataset
from torrey.shape.families import Beads
from torrey.signal import BlochTorrey, Tissue, simulate


def test_signals_are_those_of_the_paper_on_each_shape(tmp_path, capsys):
    argv = ["dataset", "bead", "-o", str(tmp_path / "set"), "--split", "test", "--first", "2", "--signals"]
    assert main([*argv, "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'set'}: 2 shapes of bead, 0.0")
    # one line for both shapes: the prism of the paper is coarse for its largest gradients
    assert err.count("warning: the mesh may be too coarse") == 1
    assert "2 such warnings of 2 shapes" in err
    dataset = open_dataset(tmp_path / "set")
    assert dataset.indices.tolist() == list(Beads().split("test")[:2])
    signals, protocol = dataset.signals().double(), remidi_protocol()
    assert signals.shape == (2, 1890)
    for i in range(2):
        mesh = prism().with_vertices(Beads().sample(int(dataset.indices[i]), seed=4).vertices)
        # without gradients the signal is the volume; float32
        unweighted = signals[i][protocol.bvals < 1]
        torch.testing.assert_close(unweighted, mesh.volume.expand(90), rtol=2e-7, atol=0)
    some = torch.tensor([95, 720, 1300])
    stepped = simulate(
        mesh, Tissue(diffusivity=2.0), protocol.subset(some), solver=BlochTorrey(tolerance=1e-5)
    )
    # what the modes down to 1 µm leave out at b up to 2 000 s/mm² is below 1e-3 of S(0)
    assert float((signals[1][some] - stepped.real).abs().max() / mesh.volume) < 1e-3


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_interrupted_goes_on(tmp_path, capsys, how):
    folder = tmp_path / "set"
    argv = ["dataset", "fan", "-o", str(folder), "--split", "train", "--first", "600"]
    run = subprocess.Popen([sys.executable, "-m", "torrey.cli", *argv], stderr=subprocess.PIPE, text=True)
    while not (folder / "shard_00000.npz").exists():
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(how)
    _, said = run.communicate(timeout=120)
    last = said.splitlines()[-1]
    assert last == f"torrey: interrupted, the same command goes on with what is in {folder}"
    assert run.returncode == 130
    kept = len(open_dataset(folder))
    assert kept >= 256
    assert kept % 256 == 0
    first = (folder / "shard_00000.npz").stat().st_mtime_ns
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith(f"{folder}: 600 shapes of fan, ")
    assert (folder / "shard_00000.npz").stat().st_mtime_ns == first
    # a fan of 12 sides: PRISM · (1 + w + w²/3) times the scales, w the widening at the top
    dataset = open_dataset(folder)
    widening = 9 * torch.tan(torch.deg2rad(dataset.parameters["angle"])) / 3
    expected = 27 * 9 * (1 + widening + widening**2 / 3) * dataset.scales().prod(1)
    mesh = dataset.template
    volumes = torch.stack(
        [mesh.with_vertices(v.double()).volume for v in dataset.vertices(slice(0, 600, 30))]
    )
    torch.testing.assert_close(volumes, expected[::30], rtol=1e-6, atol=0)
    assert math.isclose(float(mesh.volume), 27 * 9, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["fan", "--first", "0"], "first: expected at least 1, got 0"),
        (["fan", "--workers", "0"], "workers: expected at least 1, got 0"),
        (["fan", "--seed", "-1"], "seed: expected 0 … 2⁶³ − 1, got -1"),
        (["cone"], 'Invalid value "cone" for FAMILY'),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(tmp_path, capsys, argv, text):
    assert main(["dataset", *argv, "-o", str(tmp_path / "set")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "set").exists()

"""Pulseq files, written here by PyPulseq, against the b-values and dephasing that their design has."""

import math

import numpy as np
import pypulseq
import pytest
import torch

from torrey.acquisition import Acquisition, Trapezoid, read_acquisition, read_pulseq
from torrey.errors import FileError, InputError
from torrey.units import GYROMAGNETIC_RATIO

SYSTEM = pypulseq.Opts(max_grad=300, grad_unit="mT/m", max_slew=600, slew_unit="T/m/s")
GAMMA_BAR = 1e9 * GYROMAGNETIC_RATIO / (2 * math.pi)
"""Hz/m in one mT/m."""


def pulse(angle, use):
    return pypulseq.make_block_pulse(angle, duration=0.4e-3, delay=0.1e-3, system=SYSTEM, use=use)


def trapezoids(vector, flat=5.0):
    """Gradients (mT/m) with 0.5 ms ramps, or the same time without."""
    made = [
        pypulseq.make_trapezoid(
            axis, amplitude=g * GAMMA_BAR, flat_time=1e-3 * flat, rise_time=0.5e-3, system=SYSTEM
        )
        for axis, g in zip("xyz", vector, strict=True)
        if g
    ]
    return made or [pypulseq.make_delay(1e-3 * flat + 1e-3)]


def spin_echo(sequence, vectors, *, pause=12.0):
    """A pair of pulses about a refocusing pulse for each vector, with crushers, a readout and recovery."""
    for vector in vectors:
        sequence.add_block(pulse(math.pi / 2, "excitation"))
        sequence.add_block(pypulseq.make_delay(1e-3))
        sequence.add_block(*trapezoids(vector))
        sequence.add_block(pypulseq.make_delay(1e-3 * pause / 2))
        crusher = pypulseq.make_trapezoid("z", area=4e3, duration=1.5e-3, system=SYSTEM)
        sequence.add_block(crusher)
        sequence.add_block(pulse(math.pi, "refocusing"))
        sequence.add_block(crusher)
        sequence.add_block(pypulseq.make_delay(1e-3 * pause / 2))
        sequence.add_block(*trapezoids(vector))
        sequence.add_block(pypulseq.make_delay(3e-3))
        sequence.add_block(pypulseq.make_adc(32, duration=3.2e-3, system=SYSTEM))
        sequence.add_block(pypulseq.make_delay(30e-3))


def written(tmp_path, build, *args, **options):
    sequence = pypulseq.Sequence(SYSTEM)
    build(sequence, *args, **options)
    path = tmp_path / "a.seq"
    sequence.write(str(path))
    return path


VECTORS = [(0, 0, 0), (120, 0, 0), (-60, 80, 100.0)]


def test_spin_echoes_are_those_of_trapezoids(tmp_path):
    acquisition = read_acquisition(written(tmp_path, spin_echo, VECTORS))
    assert acquisition.n_measurements == 3
    # from the end of one pulse to the beginning of the other: pause, crushers, refocusing pulse
    big_delta = 6.0 + 12.0 + 2 * 1.5 + 0.5
    gradient = Acquisition.from_gradients(VECTORS, small_delta=5.5, big_delta=big_delta)
    expected = torch.stack(
        [
            Trapezoid(0.5).weighting(t, T)
            for t, T in zip(gradient.small_delta, gradient.big_delta, strict=True)
        ]
    )
    crushers = acquisition.bvals[0]
    assert 0 < float(crushers) < 2
    bvals = 1000 * gradient.wave_vectors.square().sum(1) * expected
    # crushers are long over when pulses dephase, but not orthogonal to the last
    torch.testing.assert_close(acquisition.bvals[:2] - crushers, bvals[:2], rtol=1e-4, atol=1e-9)
    torch.testing.assert_close(acquisition.bvals[2], bvals[2], rtol=5e-2, atol=0)
    along = torch.linalg.eigh(acquisition.b_tensors[1]).eigenvectors[:, -1]
    # the crushers turn it a little
    assert abs(float(along[0])) == pytest.approx(1, abs=1e-3)


def test_the_dephasing_at_cell_edges_is_exact(tmp_path):
    path = written(tmp_path, spin_echo, VECTORS[1:2])
    coarse, fine = read_pulseq(path, raster=0.4), read_pulseq(path, raster=0.05)
    assert coarse.durations == pytest.approx(fine.durations)
    echo = float(fine.durations)
    F = [a.free_wave_vectors(torch.tensor([0]))[0].cumsum(0) * a.waveforms[0].raster for a in (coarse, fine)]
    times = [np.linspace(0, echo, len(f) + 1)[1:] for f in F]
    # the fine raster interpolates between its own edges, on ramps off by second order
    there = np.interp(times[0], times[1], F[1][:, 0])
    np.testing.assert_allclose(F[0][:, 0], there, atol=2e-3 * np.abs(there).max())


def gradient_echo(sequence):
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(*trapezoids((90, 0, 0)))
    sequence.add_block(*trapezoids((-90, 0, 0)))
    sequence.add_block(pypulseq.make_adc(10, duration=1e-3, system=SYSTEM))
    sequence.add_block(pypulseq.make_delay(5e-3))


def test_without_refocusing_the_echo_is_the_first_readout(tmp_path):
    acquisition = read_pulseq(written(tmp_path, gradient_echo))
    # centre of the excitation, dead time and half of the readout included
    assert 12.5 < float(acquisition.durations) < 13.5
    assert float(acquisition.bvals) > 50


def bare(sequence):
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(pypulseq.make_delay(5e-3))
    sequence.add_block(pulse(math.pi, "refocusing"))
    sequence.add_block(pypulseq.make_delay(9e-3))


def unbalanced(sequence):
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(*trapezoids((90, 0, 0)))
    sequence.add_block(pulse(math.pi, "refocusing"))
    sequence.add_block(pypulseq.make_delay(9e-3))


def without_echo(sequence):
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(*trapezoids((90, 0, 0)))


def too_early(sequence):
    bare(sequence)
    sequence.add_block(pypulseq.make_delay(5e-3))
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(pypulseq.make_delay(5e-3))
    sequence.add_block(pulse(math.pi, "refocusing"))
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(pypulseq.make_delay(50e-3))


def refocused_too_soon(sequence):
    sequence.add_block(pulse(math.pi / 2, "excitation"))
    sequence.add_block(pypulseq.make_delay(9e-3))
    sequence.add_block(pulse(math.pi, "refocusing"))
    sequence.add_block(pypulseq.make_delay(2e-3))
    sequence.add_block(pulse(math.pi, "refocusing"))
    sequence.add_block(pypulseq.make_delay(30e-3))


BAD = {
    "refocused too soon": (refocused_too_soon, "excitation 0: the refocusing pulse at .* comes before"),
    "no gradients": (bare, "no gradient between any excitation and its echo"),
    "no excitation": (lambda s: s.add_block(*trapezoids((90, 0, 0))), "no excitation pulse"),
    "unbalanced": (unbalanced, "excitation 0: FreeWaveform: the samples leave"),
    "no echo": (without_echo, "excitation 0: neither refocusing pulse nor readout"),
    "no time": (too_early, "excitation 1: the echo at .* comes after the next excitation"),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=BAD)
def test_sequences_that_make_no_signal(tmp_path, build, message):
    path = written(tmp_path, build)
    with pytest.raises(FileError, match=rf"a\.seq: {message}"):
        read_pulseq(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("hello\n", r"has no section \[BLOCKS\]"), ("[BLOCKS]\n1 2 three\n", "PyPulseq cannot read it")],
)
def test_other_files(tmp_path, text, message):
    path = tmp_path / "a.seq"
    path.write_text(text)
    with pytest.raises(FileError, match=message):
        read_pulseq(path)
    with pytest.raises(FileError, match="no such file"):
        read_pulseq(tmp_path / "b.seq")
    with pytest.raises(InputError, match="raster is 0"):
        read_pulseq(path, raster=0)

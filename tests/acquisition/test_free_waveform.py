"""Waveforms that turn in space: b-tensors against integrals, their common shapes, and what is refused."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad_vec

from torrey.acquisition import (
    Acquisition,
    CosineOgse,
    FreeWaveform,
    axisymmetric_encoding,
    electrostatic_directions,
    pulse_train,
    write_acquisition,
)
from torrey.errors import InputError
from torrey.units import GYROMAGNETIC_RATIO

AXES = electrostatic_directions(5)


def samples(n=3, cells=8):
    drawn = torch.randn(n, cells, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 200 * (drawn - drawn.mean(1, keepdim=True))


def test_b_tensors_are_the_integrals_of_the_dephasing():
    gradients, raster = samples(), 1.25
    acquisition = Acquisition.from_waveforms(gradients, raster=raster)
    edges = raster * np.arange(9)
    for own, tensor in zip(gradients.numpy(), acquisition.b_tensors, strict=True):
        F = np.concatenate([np.zeros((1, 3)), own.cumsum(0)]) * raster * GYROMAGNETIC_RATIO

        def squared(t, F=F):
            q = np.array([np.interp(t, edges, F[:, c]) for c in range(3)])
            return np.outer(q, q)

        expected = quad_vec(squared, 0, edges[-1], points=edges[1:-1])[0]
        np.testing.assert_allclose(tensor, 1000 * expected, rtol=1e-9)
    torch.testing.assert_close(acquisition.b_tensors.diagonal(dim1=1, dim2=2).sum(1), acquisition.bvals)


def test_wave_vectors_are_the_samples():
    gradients = samples()
    acquisition = Acquisition.from_waveforms(gradients, raster=2.0)
    q = acquisition.free_wave_vectors(torch.tensor([2, 0]))
    torch.testing.assert_close(q, GYROMAGNETIC_RATIO * gradients[[2, 0]])


@pytest.mark.parametrize("b_delta", [1.0, 0.4, 0.0, -0.25, -0.5])
def test_axisymmetric_encoding_has_the_shape_it_is_asked_for(b_delta):
    waveform = axisymmetric_encoding(b_delta, 30.0, n_cells=100)
    acquisition = Acquisition.rotated(waveform, [1000.0] * 5, AXES)
    torch.testing.assert_close(acquisition.bvals, torch.full((5,), 1000.0).double())
    across, along = (1 - b_delta) / 3, (1 + 2 * b_delta) / 3
    wanted = across * torch.eye(3) + (along - across) * AXES[:, :, None] * AXES[:, None]
    # 7 over the square of the number of cells
    torch.testing.assert_close(acquisition.b_tensors / 1000, wanted.double(), atol=7e-4, rtol=0)
    assert float(waveform.samples.norm(dim=1).max()) == pytest.approx(1)


def test_a_train_along_three_axes_is_spherical():
    train = pulse_train(np.eye(3), small_delta=4.0, big_delta=11.0, pause=2.5)
    assert train.raster == 0.5
    assert len(train.samples) * train.raster == 3 * 15.0 + 2 * 2.5
    acquisition = Acquisition.rotated(train, [900.0] * 5, AXES)
    torch.testing.assert_close(acquisition.b_tensors, (300 * torch.eye(3)).double().expand(5, 3, 3))


def test_rotations_take_z_to_the_axes():
    waveform = FreeWaveform([[0, 0, 1.0], [0, 0, -1.0]], 1.0)
    axes = torch.cat([AXES, torch.tensor([[0, 0, 1.0], [0, 0, -1.0], [0, 0, 0.0]])])
    acquisition = Acquisition.rotated(waveform, [1000.0] * 7 + [0.0], axes)
    q = acquisition.free_wave_vectors(torch.arange(8))
    torch.testing.assert_close(q[:, 0], acquisition.wave_vectors)
    torch.testing.assert_close(acquisition.bvecs[:7], axes[:7])


def test_mixtures_keep_their_tensors():
    pulses = Acquisition.encode(CosineOgse(1), [500.0] * 5, AXES, small_delta=10.0, big_delta=12.0)
    planar = Acquisition.rotated(axisymmetric_encoding(-0.5, 20.0), [700.0] * 5, AXES)
    both = Acquisition.concatenate([pulses, planar]).subset([7, 1])
    torch.testing.assert_close(both.b_tensors[0], planar.b_tensors[2])
    torch.testing.assert_close(both.b_tensors[1], 500 * torch.outer(AXES[1], AXES[1]))
    torch.testing.assert_close(both.durations, torch.tensor([20.0, 22.0]).double())


def test_a_waveform_is_named_in_short():
    assert repr(FreeWaveform([[1.0, 0, 0], [-1.0, 0, 0]], 2.0)) == "FreeWaveform(2 cells of 2 ms)"


BAD = {
    "shape": (lambda: FreeWaveform([[1.0, 0]], 1.0), r"samples have shape \(1, 2\), expected \(K, 3\)"),
    "not refocused": (
        lambda: FreeWaveform([[1.0, 0, 0], [1.0, 0, 0]], 1.0),
        "leave 1 of their integral at the end, expected none; turn around",
    ),
    "NaN": (lambda: FreeWaveform([[math.nan, 0, 0], [1.0, 0, 0]], 1.0), "row 0: sample is"),
    "raster": (lambda: FreeWaveform([[1.0, 0, 0], [-1.0, 0, 0]], 0.0), "2 cells of 0.0 ms"),
    "raster in s": (
        lambda: Acquisition.from_waveforms(samples(), raster=1e-3),
        "makes the largest b-value .* expected gradients in mT/m",
    ),
    "one row": (
        lambda: Acquisition.from_waveforms(samples() + torch.tensor([0, 90.0, 0])[:, None, None], raster=1.0),
        "row 1: FreeWaveform: the samples leave",
    ),
    "echo": (
        lambda: Acquisition.from_waveforms(samples(), raster=2.0, echo_time=15.0),
        "echo_time 15 ms is shorter than 16 ms, when the gradients of FreeWaveform",
    ),
    "no gradient": (
        lambda: Acquisition.rotated(FreeWaveform(np.zeros((4, 3)), 1.0), [500.0], [[0, 0, 1]]),
        "has no gradient, expected one to scale",
    ),
    "b_delta": (lambda: axisymmetric_encoding(2.0, 20.0), "b_delta is 2.0, expected −0.5 … 1"),
    "duration": (lambda: axisymmetric_encoding(0.0, -1.0), "200 cells in -1.0 ms"),
    "train": (
        lambda: pulse_train(np.eye(3), small_delta=5.0, big_delta=3.0),
        "expected 0 < small_delta ≤ big_delta",
    ),
    "no raster": (
        lambda: pulse_train(np.eye(3), small_delta=1.0, big_delta=math.pi),
        "have no common raster",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_waveforms(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_files_of_pulsed_gradients_refuse_free_ones(tmp_path):
    acquisition = Acquisition.from_waveforms(samples(), raster=1.0)
    with pytest.raises(InputError, match=r"FreeWaveform.8 cells of 1 ms., expected pulsed gradients"):
        write_acquisition(tmp_path / "a.tsv", acquisition)

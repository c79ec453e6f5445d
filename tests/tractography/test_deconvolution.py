import shutil

import nibabel
import numpy as np
import pytest
import torch
from fibre_phantom import fibre_signals, noisy_crossings, protocol, response, run, unit, write_dwi

from torrey.errors import AccuracyWarning, FileError, InputError
from torrey.tractography import harmonics
from torrey.tractography.orientation import (
    GradientTable,
    deconvolve,
    read_directions,
    read_response,
    spiral_directions,
    write_directions,
    write_response,
)

needs_mrtrix = pytest.mark.skipif(shutil.which("dwi2fod") is None, reason="MRtrix is not installed")


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {}),
        ("-lmax 6", {"degree": 6}),
        ("-lmax 10", {"degree": 10}),
        (
            "-threshold 0.05 -neg_lambda 0.5 -norm_lambda 2",
            {"threshold": 0.05, "neg_lambda": 0.5, "norm_lambda": 2.0},
        ),
    ],
)
@needs_mrtrix
def test_fods_are_those_of_dwi2fod(tmp_path, flags, options):
    table = protocol()
    signals = noisy_crossings(table, 24).reshape(4, 3, 2, -1)
    write_dwi(tmp_path, signals, table)
    write_response(tmp_path / "response.txt", response(), bval=2000)
    run(tmp_path, *f"dwi2fod csd dwi.nii.gz -grad grad.b response.txt fod.nii {flags}".split())
    theirs = torch.from_numpy(nibabel.load(tmp_path / "fod.nii").get_fdata())
    ours = deconvolve(signals, table, response(), **options)
    # MRtrix reads signals and writes coefficients as float32
    assert float(((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max()) < 1e-6


@needs_mrtrix
def test_few_iterations_are_those_of_dwi2fod(tmp_path):
    table = protocol()
    signals = noisy_crossings(table, 8).reshape(4, 2, 1, -1)
    write_dwi(tmp_path, signals, table)
    write_response(tmp_path / "response.txt", response(), bval=2000)
    write_directions(tmp_path / "directions.txt", spiral_directions(250))
    command = "dwi2fod csd dwi.nii.gz -grad grad.b response.txt fod.nii -directions directions.txt -niter 2"
    run(tmp_path, *command.split())
    theirs = torch.from_numpy(nibabel.load(tmp_path / "fod.nii").get_fdata())
    options = {"constraint_directions": spiral_directions(250), "max_iterations": 2}
    with pytest.warns(AccuracyWarning, match="voxels still changes after 2 iterations"):
        ours = deconvolve(signals, table, response(), **options)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-6


def test_without_constraint_it_is_the_ridge_solution():
    """With neg_lambda = 0 the FOD is (AᵀA + ρ)⁻¹Aᵀs, here from an augmented system by `lstsq`."""
    table, kernel = protocol(), response()
    signals = noisy_crossings(table, 5)
    forward = harmonics(table.directions[2:], 8)
    for degree in range(0, 9, 2):
        columns = slice(degree * (degree - 1) // 2, (degree + 1) * (degree + 2) // 2)
        forward[:, columns] *= kernel[degree // 2] / np.sqrt((2 * degree + 1) / (4 * np.pi))
    ridge = 2e-4 * forward[:, 0].square().sum()
    augmented = torch.cat([forward, ridge.sqrt() * torch.eye(45, dtype=torch.float64)])
    target = torch.cat([signals[:, 2:].T, torch.zeros(45, 5, dtype=torch.float64)])
    expected = torch.linalg.lstsq(augmented, target).solution.T
    ours = deconvolve(signals, table, kernel, neg_lambda=0.0)
    # the normal equations lose half the digits of a system whose condition is 1e3
    assert ours.numpy() == pytest.approx(expected.numpy(), abs=1e-8)


def test_the_peak_is_along_the_fibre():
    table, generator = protocol(), torch.Generator().manual_seed(1)
    fibres = unit(20, generator)
    fods = deconvolve(fibre_signals(table, fibres[:, None]), table, response())
    dense = spiral_directions(4000)
    peaks = dense[(fods @ harmonics(dense, 8).T).argmax(1)]
    # neighbours on the dense spiral are 2.3° apart, and 45 gradients leave about a degree
    assert float((peaks * fibres).sum(1).abs().min()) > np.cos(np.radians(2.5))


def test_gradients_of_signals_and_response():
    table = protocol(20)
    signals = noisy_crossings(table, 2, seed=2)
    kernel = response(3)

    def fods(s, r):
        return deconvolve(1000 * s, table, 1000 * r, degree=4)

    scaled = (signals / 1000).requires_grad_(), (kernel / 1000).requires_grad_()
    # central differences of 1e-6 with amplitudes of order one: errors of 1e-12 / 1e-6 and of the step squared
    assert torch.autograd.gradcheck(fods, scaled, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_the_gradient_does_not_depend_on_chunks(monkeypatch):
    table = protocol()
    signals = noisy_crossings(table, 7).requires_grad_()
    weights = torch.randn(7, 45, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (whole,) = torch.autograd.grad((weights * deconvolve(signals, table, response())).sum(), signals)
    monkeypatch.setattr("torrey.tractography.orientation.deconvolution._CHUNK_BYTES", 2 * 8 * 45**2)
    (parts,) = torch.autograd.grad((weights * deconvolve(signals, table, response())).sum(), signals)
    assert torch.equal(whole[:, :2], torch.zeros(7, 2, dtype=torch.float64))
    # sums in another order
    assert parts.numpy() == pytest.approx(whole.numpy(), rel=1e-9, abs=1e-15)


def test_voxels_outside_the_mask_are_zero():
    table = protocol()
    signals = noisy_crossings(table, 6)
    signals[0] = float("nan")
    mask = torch.tensor([False, True, True, False, True, True])
    seen = []
    fods = deconvolve(signals, table, response(), mask=mask, progress=lambda *counts: seen.append(counts))
    assert bool((fods[~mask] == 0).all())
    assert torch.equal(fods[mask], deconvolve(signals[mask], table, response()))
    assert seen == [(4, 4)]
    assert deconvolve(signals, table, response(), mask=torch.zeros(6, dtype=torch.bool)).shape == (6, 45)


def test_the_largest_shell_is_used():
    table, signals = protocol(), noisy_crossings(protocol(), 2)
    low = GradientTable(torch.full((6,), 700.0), spiral_directions(6))
    both = GradientTable(torch.cat([low.bvals, table.bvals]), torch.cat([low.directions, table.directions]))
    padded = torch.cat([torch.full((2, 6), 600.0, dtype=torch.float64), signals], 1)
    expected = deconvolve(signals, table, response())
    assert torch.equal(deconvolve(padded, both, response()), expected)
    assert torch.equal(deconvolve(padded, both, response(), shell=2000), expected)
    assert not torch.equal(deconvolve(padded, both, response(), shell=700, degree=2), expected[:, :6])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": torch.ones(3, dtype=torch.bool)}, "mask has 3 voxels; expected 2"),
        ({"degree": 7}, "degree is 7; expected an even number"),
        ({"norm_lambda": -1.0}, "expected from 0"),
        ({"norm_lambda": 0.0, "neg_lambda": 0.0, "degree": 10}, "signals do not determine the FOD"),
        ({"shell": 1000.0}, "no shell at b = 1000"),
    ],
)
def test_bad_options(change, words):
    table = protocol()
    with pytest.raises(InputError) as caught:
        deconvolve(noisy_crossings(table, 2), table, response(7), **change)
    assert words in str(caught.value)


def test_bad_signals():
    table = protocol()
    signals = noisy_crossings(table, 2)
    with pytest.raises(InputError, match="47 b-values and directions for an image of 46 volumes"):
        deconvolve(signals[:, 1:], table, response())
    signals[1, 5] = float("inf")
    with pytest.raises(InputError, match="not finite"):
        deconvolve(signals, table, response())


def test_responses_are_read_as_they_are_written(tmp_path):
    write_response(tmp_path / "r.txt", response(), bval=2000)
    assert read_response(tmp_path / "r.txt").numpy() == pytest.approx(response().numpy(), rel=1e-14)
    (tmp_path / "r.txt").write_text("900\n500 -100 20\n")
    with pytest.raises(FileError, match="2 rows, of as many shells"):
        read_response(tmp_path / "r.txt")
    (tmp_path / "r.txt").write_text("-500 -100 20\n")
    with pytest.raises(FileError, match="first coefficient is -500"):
        read_response(tmp_path / "r.txt")


def test_directions_are_read_as_they_are_written(tmp_path):
    directions = spiral_directions(50)
    write_directions(tmp_path / "d.txt", directions)
    assert read_directions(tmp_path / "d.txt").numpy() == pytest.approx(directions.numpy(), abs=1e-15)
    np.savetxt(tmp_path / "d.txt", 3 * directions.numpy(), fmt="%.17g")
    assert read_directions(tmp_path / "d.txt").numpy() == pytest.approx(directions.numpy(), abs=1e-15)
    (tmp_path / "d.txt").write_text("1 2\n1 2 3\n")
    with pytest.raises(FileError, match="expected 2 values in every row"):
        read_directions(tmp_path / "d.txt")


def test_the_spiral_covers_the_half_sphere_evenly():
    """The mean of x_i x_j over the sphere is δ_ij / 3."""
    directions = spiral_directions(300)
    assert (directions.T @ directions / 300).numpy() == pytest.approx(np.eye(3) / 3, abs=1e-3)

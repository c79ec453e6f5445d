"""The estimated response against the closed form, a bounded solver, and MRtrix's programs."""

import shutil

import nibabel
import numpy as np
import pytest
import torch
from fibre_phantom import OBLIQUE, fibre_signals, protocol, response, run, unit, write_dwi
from scipy.optimize import minimize

from torrey.errors import InputError
from torrey.tractography import harmonics
from torrey.tractography.orientation import (
    HighestAnisotropy,
    SinglePeak,
    estimate_response,
    fit_response,
    read_response,
)

needs_mrtrix = pytest.mark.skipif(shutil.which("dwi2response") is None, reason="MRtrix is not installed")
SHAPE = (6, 5, 4)


def half_crossings(table, *, noise=15.0, seed=3):
    """Signals (6, 5, 4, N): one fibre where the first index is below 3, two at an angle elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    first, second = unit(120, generator), unit(120, generator)
    second[:60] = first[:60]
    clean = fibre_signals(table, torch.stack([first, second], 1))
    noisy = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    return noisy.clamp(min=1.0).reshape(*SHAPE, -1)


def whole():
    return torch.ones(SHAPE, dtype=torch.bool)


def test_the_fit_of_noiseless_fibres_is_the_closed_form():
    table = protocol()
    fibres = unit(40, torch.Generator().manual_seed(0))
    signals = fibre_signals(table, fibres[:, None])[:, 2:]
    found = fit_response(signals, table.directions[2:], fibres, degree=12)
    # degrees above 12 hold less than 1e-4 of this fibre's signal
    assert found.numpy() == pytest.approx(response(7).numpy(), abs=0.05)


def test_the_constrained_fit_is_that_of_another_solver():
    """Three isotropic voxels: noise alone would make a response that is highest along the fibre."""
    table, generator = protocol(), torch.Generator().manual_seed(0)
    fibres, gradients = unit(3, generator), table.directions[2:]
    signals = 500 + 60 * torch.randn(3, 45, generator=generator, dtype=torch.float64)
    found = fit_response(signals, gradients, fibres, degree=8).numpy()

    def zonal(cosines):
        at = torch.as_tensor(cosines)
        rows = harmonics(torch.stack([(1 - at**2).clamp(min=0).sqrt(), 0 * at, at], -1), 8).numpy()
        return rows[..., [0, 3, 10, 21, 36]]

    design = zonal((fibres @ gradients.T).ravel().numpy())
    values = zonal(np.cos(np.radians(np.arange(0, 90.5, 0.5))))
    rising = {"type": "ineq", "fun": lambda x: np.diff(values @ x)}
    target = signals.ravel().numpy()

    def misfit(x):
        return 1e-4 * float(((design @ x - target) ** 2).sum())

    start, options = np.array([1800.0, -100.0, 0.0, 0.0, 0.0]), {"maxiter": 500, "ftol": 1e-12}
    other = minimize(misfit, start, constraints=rising, method="SLSQP", options=options)
    free = np.linalg.lstsq(design, target, rcond=None)[0]
    assert np.diff(values @ free).min() < -0.5
    # angles of the constraints differ, whose effect is of the second order in their distance
    assert found == pytest.approx(other.x, abs=0.02)


def test_gradients_with_constraints_that_hold():
    table, generator = protocol(20), torch.Generator().manual_seed(0)
    gradients = table.directions[2:]
    signals = (0.5 + 0.06 * torch.randn(3, 20, generator=generator, dtype=torch.float64)).requires_grad_()
    axes = unit(3, generator).requires_grad_()

    def fitted(s, f):
        return fit_response(s, gradients, f / f.norm(dim=1, keepdim=True), degree=6)

    assert torch.autograd.gradcheck(fitted, (signals, axes), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [(HighestAnisotropy(20), "fa"), pytest.param(SinglePeak(20), "tournier", marks=pytest.mark.slow)],
)
@needs_mrtrix
def test_responses_are_those_of_dwi2response(tmp_path, algorithm, words):
    table = protocol()
    signals = half_crossings(table)
    write_dwi(tmp_path, signals, table)
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), OBLIQUE), tmp_path / "mask.nii")
    command = f"dwi2response {words} dwi.nii.gz r.txt -grad grad.b -mask mask.nii -number 20 -lmax 8"
    run(tmp_path, *command.split(), "-voxels", "v.nii", "-scratch", str(tmp_path))
    found = estimate_response(signals, table, mask=whole(), algorithm=algorithm, degree=8)
    assert np.array_equal(found.voxels.numpy(), nibabel.load(tmp_path / "v.nii").get_fdata() > 0)
    theirs = read_response(tmp_path / "r.txt")
    # fa: float32 between MRtrix's programs; tournier: lobes are sampled at other directions, 4° apart
    assert float((found.response - theirs).norm() / theirs.norm()) < {"fa": 1e-5, "tournier": 1e-3}[words]


@pytest.mark.parametrize("algorithm", [HighestAnisotropy(20), SinglePeak(20)])
def test_single_fibres_are_chosen(algorithm):
    table = protocol()
    found = estimate_response(half_crossings(table, noise=5.0), table, mask=whole(), algorithm=algorithm)
    assert int(found.voxels.sum()) == 20
    assert int(found.voxels[3:].sum()) <= 2  # of random pairs of fibres, some are nearly one
    # the choice prefers noise that looks anisotropic
    assert found.response[:4].numpy() == pytest.approx(response(4).numpy(), rel=0.06)


def test_the_gradient_of_the_estimate():
    table = protocol(20)
    signals = (half_crossings(table) / 1000)[:3].clone()
    where = torch.ones(3, 5, 4, dtype=torch.bool)
    leaf = signals.requires_grad_()
    found = estimate_response(leaf, table, mask=where, algorithm=HighestAnisotropy(5), degree=4)
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((weights * found.response).sum(), leaf)
    change = torch.randn(signals.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def moved(step):
        near = (signals + step * change).detach()
        again = estimate_response(near, table, mask=found.voxels, algorithm=HighestAnisotropy(5), degree=4)
        return (weights * again.response).sum()

    expected = float(moved(1e-6) - moved(-1e-6)) / 2e-6
    # central differences of 1e-6: rounding of 1e-10
    assert float((gradient * change).sum()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": torch.ones(2, 2, 2, dtype=torch.bool)}, "mask has shape"),
        ({"mask": torch.zeros(SHAPE, dtype=torch.bool)}, "mask has 0 voxels; expected 20"),
        ({"degree": 5}, "degree is 5"),
        ({"shell": 700.0}, "no shell at b = 700"),
    ],
)
def test_bad_options(change, words):
    table = protocol()
    options = {"mask": whole(), "algorithm": HighestAnisotropy(20)} | change
    with pytest.raises(InputError, match=words):
        estimate_response(half_crossings(table), table, **options)


def test_too_few_directions_are_said():
    with pytest.raises(InputError, match="1 voxels of 3 directions do not determine a response of degree 8"):
        fit_response(torch.ones(1, 3).double(), torch.eye(3).double(), torch.eye(3)[:1].double(), degree=8)

import math
import shutil

import nibabel
import numpy as np
import pytest
import torch
from fibre_phantom import AXIAL, RADIAL, S0, fibre_signals, noisy_crossings, run, unit, write_dwi

from torrey.errors import InputError
from torrey.tractography.orientation import GradientTable, Tensors, fit_tensor, spiral_directions

FIBRES = unit(12, torch.Generator().manual_seed(3))


def low_b() -> GradientTable:
    bvals = torch.full((33,), 1000.0)
    bvals[0] = 0
    return GradientTable(bvals, torch.cat([torch.zeros(1, 3), spiral_directions(32)]))


def six(diffusivity: torch.Tensor) -> np.ndarray:
    rows, columns = [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]
    return diffusivity.detach().numpy()[..., rows, columns]


def test_a_tensor_is_found_again():
    fitted = fit_tensor(fibre_signals(low_b(), FIBRES[:, None]), low_b())
    expected = (
        RADIAL * torch.eye(3, dtype=torch.float64)
        + (AXIAL - RADIAL) * FIBRES[:, :, None] * FIBRES[:, None, :]
    )
    assert fitted.diffusivity.numpy() == pytest.approx(expected.numpy(), abs=1e-12)
    assert fitted.s0.numpy() == pytest.approx(S0)
    assert fitted.mean_diffusivity.numpy() == pytest.approx((AXIAL + 2 * RADIAL) / 3)
    # FA of eigenvalues a, r, r: (a − r) / √(a² + 2r²)
    fa = (AXIAL - RADIAL) / math.sqrt(AXIAL**2 + 2 * RADIAL**2)
    assert fitted.fractional_anisotropy.numpy() == pytest.approx(fa)
    along = (fitted.principal_direction * FIBRES).sum(1).abs()
    assert along.numpy() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("n_reweightings", "flags"), [(0, ("-iter", "0")), (2, ()), (5, ("-iter", "5"))])
@pytest.mark.skipif(shutil.which("dwi2tensor") is None, reason="MRtrix is not installed")
def test_tensors_are_those_of_dwi2tensor(tmp_path, n_reweightings, flags):
    table = low_b()
    signals = noisy_crossings(table, 12, noise=60.0)
    signals[0, 3] = 0
    signals = signals.reshape(3, 2, 2, -1)
    write_dwi(tmp_path, signals, table)
    run(tmp_path, "dwi2tensor", "dwi.nii.gz", "-grad", "grad.b", "dt.nii", "-b0", "b0.nii", *flags)
    theirs = nibabel.load(tmp_path / "dt.nii").get_fdata()
    fitted = fit_tensor(signals, table, n_reweightings=n_reweightings)
    # MRtrix in mm²/s, its input and output float32
    assert six(fitted.diffusivity) == pytest.approx(1000 * theirs, abs=1e-5)
    assert fitted.s0.numpy() == pytest.approx(nibabel.load(tmp_path / "b0.nii").get_fdata(), rel=1e-5)


def test_tensors_weighted_by_ordinary_predictions_are_those_of_dipy():
    """DIPY's WLS weights by the signals that ordinary least squares predicts; here they come from outside."""
    reconst = pytest.importorskip("dipy.reconst.dti")
    gradients = pytest.importorskip("dipy.core.gradients")
    table = low_b()
    signals = fibre_signals(table, FIBRES[:, None])
    scheme = gradients.gradient_table(table.bvals.numpy(), bvecs=table.directions.numpy())
    theirs = reconst.TensorModel(scheme, fit_method="WLS").fit(signals.numpy())
    ours = fit_tensor(signals, table)
    assert six(ours.diffusivity) == pytest.approx(
        1000 * six(torch.from_numpy(theirs.quadratic_form)), abs=1e-9
    )
    assert ours.fractional_anisotropy.numpy() == pytest.approx(theirs.fa, abs=1e-9)
    assert ours.mean_diffusivity.numpy() == pytest.approx(1000 * theirs.md, abs=1e-9)


def test_gradients_of_a_fit():
    table = low_b()
    signals = noisy_crossings(table, 2, noise=40.0) / S0

    def read_off(s):
        fitted = fit_tensor(S0 * s, table)
        return (
            fitted.diffusivity,
            fitted.s0 / S0,
            fitted.fractional_anisotropy,
            fitted.mean_diffusivity,
            fitted.principal_direction,
        )

    # differences of 1e-6 of functions of order one
    assert torch.autograd.gradcheck(read_off, signals.requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_the_principal_direction_does_not_mind_that_the_others_tie():
    """d e₁ = (dD e₁)⊥ / (a − r): a closed form for eigenvalues a, r, r, where `eigh` divides by zero."""
    diffusivity = torch.diag(torch.tensor([0.4, 0.4, 1.6], dtype=torch.float64)).requires_grad_()
    direction = Tensors(diffusivity, torch.tensor(1.0)).principal_direction
    (gradient,) = torch.autograd.grad(direction[0], diffusivity)
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 2] = expected[2, 0] = 0.5 / 1.2
    assert gradient.numpy() == pytest.approx(expected.numpy(), abs=1e-12)


def test_the_principal_direction_has_no_derivative_where_it_ties():
    diffusivity = torch.diag(torch.tensor([0.4, 1.6, 1.6], dtype=torch.float64)).requires_grad_()
    direction = Tensors(diffusivity, torch.tensor(1.0)).principal_direction
    (gradient,) = torch.autograd.grad(direction.sum(), diffusivity)
    assert not bool(gradient.isfinite().all())


def test_an_isotropic_tensor_has_no_anisotropy_and_no_slope():
    diffusivity = torch.eye(3, dtype=torch.float64).requires_grad_()
    anisotropy = Tensors(diffusivity, torch.tensor(1.0)).fractional_anisotropy
    (gradient,) = torch.autograd.grad(anisotropy, diffusivity)
    assert anisotropy.item() == 0
    assert torch.equal(gradient, torch.zeros(3, 3, dtype=torch.float64))


def test_bad_input():
    table = low_b()
    signals = fibre_signals(table, FIBRES[:, None])
    with pytest.raises(InputError, match="for an image of 32 volumes"):
        fit_tensor(signals[:, 1:], table)
    with pytest.raises(InputError, match="none is positive"):
        fit_tensor(0 * signals, table)
    with pytest.raises(InputError, match="do not determine a tensor"):
        fit_tensor(signals[:, 1:], GradientTable(table.bvals[1:], table.directions[1:]))
    with pytest.raises(InputError, match="diffusivity and s0 have shapes"):
        Tensors(torch.zeros(2, 3, 3), torch.zeros(3))

"""A fit with the simulator that made its signals: exact where that is the model, and what it refuses."""

import pytest
import torch

import torrey
from torrey.errors import InputError
from torrey.inverse.fine_model import FineModel
from torrey.inverse.measurement import check_measurement
from torrey.mesh import prism
from torrey.shape import StraightCylinder

BVECS = torrey.acquisition.electrostatic_directions(6)
ACQ = torrey.Acquisition.shells_of([0, 500, 1500], BVECS, small_delta=5.0, big_delta=[10.0, 30.0])
TEMPLATE = prism(n_layers=6)
WATER = torrey.Tissue(diffusivity=2.0)


def signal_of(shape, latent, solver):
    return torrey.simulate(shape.mesh(latent), WATER, ACQ, solver=solver).real


@pytest.mark.parametrize(
    "solver", [torrey.MatrixFormalism(modes=25), torrey.MatrixFormalism(length_scale=1.5)]
)
@pytest.mark.filterwarnings("ignore::torrey.errors.AccuracyWarning")
def test_signals_of_the_given_solver_are_fitted_to_rounding(solver):
    """The usual model, of second order, cannot: its signals are those of another mesh."""
    shape = StraightCylinder(template=TEMPLATE)
    latent = torch.tensor([7.0, 1.7], dtype=torch.float64).log()
    signal = signal_of(shape, latent, solver)
    found = torrey.reconstruct(signal, ACQ, WATER, shape=shape, solver=solver, sigma=1e-7, n_starts=1)
    # the Jacobian holds modes fixed, so the last steps gain two or three digits each, down to rounding
    torch.testing.assert_close(found.latent, latent, atol=1e-5, rtol=0)
    assert found.misfit < 1e-6
    assert found.settings["element_order"] == 1
    usual = torrey.reconstruct(signal, ACQ, WATER, shape=shape, sigma=1e-7, n_starts=1)
    assert usual.misfit > 10 * found.misfit


def test_settings_say_what_was_believed():
    assert FineModel.of(torrey.MatrixFormalism(modes=25)).settings == {
        "element_order": 1,
        "length_scale": None,
        "modes": 25,
    }
    given = FineModel.of(torrey.MatrixFormalism(length_scale=1.5, order=2)).settings
    assert given == {"element_order": 2, "length_scale": 1.5, "modes": None}


def test_a_tolerance_is_no_fixed_number_of_modes():
    with pytest.raises(InputError, match="expected MatrixFormalism with modes or length_scale"):
        FineModel.of(torrey.MatrixFormalism(tolerance=1e-4))


def test_thinned_measurements_are_some_of_all():
    signal = torch.linspace(100, 50, ACQ.n_measurements, dtype=torch.float64)
    whole = check_measurement(signal, ACQ, normalised=False, sigma=0.02)
    few = whole.thinned(10)
    assert few.signal.shape == (10,)
    assert few.reference == whole.reference
    rows = [int((signal == value).nonzero()) for value in few.signal]
    assert rows == sorted(set(rows))
    torch.testing.assert_close(few.acquisition.bvals, ACQ.bvals[rows])
    assert whole.thinned(len(signal)) is whole

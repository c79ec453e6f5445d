import pytest
import torch

from torrey.acquisition import Acquisition
from torrey.acquisition.directions import electrostatic_directions
from torrey.errors import InputError
from torrey.inverse.measurement import check_measurement

N = 6


def acquisition(bvals=(0, 2000)):
    return Acquisition.shells_of(list(bvals), electrostatic_directions(N), small_delta=5.0, big_delta=20.0)


def attenuation(first=1.0, second=0.4):
    return torch.tensor([first] * N + [second] * N, dtype=torch.float64)


def refused(signal, *, bvals=(0, 2000), normalised=True, sigma=None):
    with pytest.raises(InputError) as error:
        check_measurement(signal, acquisition(bvals), normalised=normalised, sigma=sigma)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_number_of_signals():
    assert "expected 12 values" in refused(attenuation()[:-1])
    assert "got shape (12, 1)" in refused(attenuation()[:, None])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_named(value):
    signal = attenuation()
    signal[7] = value
    assert refused(signal).startswith(f"signal: row 7 is {value}, expected a finite number")


def test_a_signal_with_a_phase():
    signal = torch.polar(attenuation(), torch.full((2 * N,), 0.5, dtype=torch.float64))
    assert "expected a real signal" in refused(signal)


@pytest.mark.parametrize("sigma", [0.0, -0.1, 1.0, 30.0, torch.nan])
def test_noise_outside_of_zero_and_one(sigma):
    assert refused(attenuation(), sigma=sigma).startswith(f"sigma: {sigma} is not between 0 and 1")


def test_a_protocol_without_weighting():
    assert "no measurement has a gradient" in refused(attenuation(), bvals=(0, 90))


def test_volumes_taken_for_attenuations_and_the_reverse():
    assert "are these µm³ (normalised=False)?" in refused(190 * attenuation(), normalised=True)
    assert "is it S/S(0) (normalised=True)?" in refused(attenuation(), normalised=False)
    # noise of that size makes a largest S/S(0) of 1.6 possible
    signal = attenuation(first=1.6)
    assert "largest value is 1.6" in refused(signal)
    check_measurement(signal, acquisition(), normalised=True, sigma=0.1)


def test_reference_is_the_mean_at_b_0():
    signal = 100 * attenuation()
    signal[:2] = torch.tensor([90.0, 122.0])
    measurement = check_measurement(signal, acquisition(), normalised=False, sigma=0.02)
    assert measurement.reference == pytest.approx((90 + 122 + 4 * 100) / 6)
    assert measurement.sigma == 0.02
    assert torch.allclose(measurement.attenuation, signal / measurement.reference)


def test_reference_without_b_0_is_the_largest_signal():
    signal = torch.tensor([50.0] * N + [20.0] * N)
    signal[3] = 60.0
    measurement = check_measurement(signal, acquisition((500, 2000)), normalised=False, sigma=None)
    assert measurement.reference == 60.0


def test_normalised_signals_have_the_reference_one():
    signal = attenuation(first=0.97)
    measurement = check_measurement(signal, acquisition(), normalised=True, sigma=None)
    assert measurement.reference == 1.0
    assert torch.equal(measurement.attenuation, signal)


def test_small_imaginary_parts_are_noise():
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(2 * N, generator=generator, dtype=torch.float64)
    signal = torch.complex(attenuation(), noise)
    measurement = check_measurement(signal, acquisition(), normalised=True, sigma=0.02)
    assert torch.equal(measurement.signal, attenuation())


@pytest.mark.parametrize("convert", [list, lambda x: x.numpy(), lambda x: x.float()])
def test_signals_of_any_kind_become_float64(convert):
    measurement = check_measurement(
        convert(attenuation(second=0.5)), acquisition(), normalised=True, sigma=None
    )
    assert measurement.signal.dtype == torch.float64
    assert torch.equal(measurement.signal, attenuation(second=0.5))

import math

import pytest
import torch
from scipy.integrate import quad

from torrey.acquisition import (
    Acquisition,
    CosineOgse,
    DoublePgse,
    Pgse,
    SineOgse,
    Trapezoid,
    electrostatic_directions,
    write_acquisition,
)
from torrey.errors import InputError

WAVEFORMS = [Pgse(), DoublePgse(2.0), CosineOgse(1), CosineOgse(3), SineOgse(2), Trapezoid(0.7)]
DELTA, SEPARATION = torch.tensor([4.0]).double(), torch.tensor([11.0]).double()


def running_integral(waveform, time):
    """F(t), put together from the pulses."""
    total = 0.0
    for start, sign in waveform.pulses(DELTA, SEPARATION):
        inside = min(max(time - float(start), 0.0), float(waveform.pulse_duration(DELTA)))
        total += sign * float(waveform.running_integral(torch.tensor(inside).double(), float(DELTA)))
    return total


@pytest.mark.parametrize("waveform", WAVEFORMS, ids=repr)
def test_weighting_is_the_integral_of_the_squared_running_integral(waveform):
    end = float(waveform.duration(DELTA, SEPARATION))
    corners = [
        float(start) + corner
        for start, _ in waveform.pulses(DELTA, SEPARATION)
        for corner in waveform.breaks(float(DELTA))
    ]
    numeric = quad(lambda t: running_integral(waveform, t) ** 2, 0, end, points=corners, limit=400)[0]
    assert float(waveform.weighting(DELTA, SEPARATION)) == pytest.approx(numeric, rel=1e-6)
    assert running_integral(waveform, end) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("waveform", WAVEFORMS, ids=repr)
def test_reach_is_the_largest_running_integral(waveform):
    end = float(waveform.duration(DELTA, SEPARATION))
    largest = max(abs(running_integral(waveform, end * k / 4000)) for k in range(4001))
    assert float(waveform.reach(DELTA)) == pytest.approx(largest, rel=1e-4)


def test_b_values_come_back_from_the_gradients():
    directions = electrostatic_directions(6)
    parts = [
        Acquisition.encode(w, [1000.0] * 6, directions, small_delta=4.0, big_delta=11.0) for w in WAVEFORMS
    ]
    mixed = Acquisition.concatenate(parts)
    assert mixed.n_measurements == 36
    torch.testing.assert_close(mixed.bvals, torch.full((36,), 1000.0).double())
    some = mixed.subset([35, 0, 7])
    assert [some.waveforms[k] for k in some.waveform_of] == [Trapezoid(0.7), Pgse(), DoublePgse(2.0)]
    torch.testing.assert_close(some.bvals, torch.full((3,), 1000.0).double())
    mixed.subset(slice(0, 6)).require_pgse("here")
    with pytest.raises(InputError, match=r"here: row 6 is DoublePgse\(pause=2.0\), expected pulsed"):
        mixed.require_pgse("here")


def test_pgse_is_what_it_was():
    directions = electrostatic_directions(3)
    one = Acquisition.pgse([500.0] * 3, directions, small_delta=5.0, big_delta=20.0)
    two = Acquisition.encode(Pgse(), [500.0] * 3, directions, small_delta=5.0, big_delta=20.0)
    assert torch.equal(one.gradients, two.gradients)
    assert one.echo_time.tolist() == [25.0] * 3


def test_the_echo_comes_after_the_waveform():
    waveform, direction = DoublePgse(2.0), [[1.0, 0.0, 0.0]]
    end = Acquisition.encode(waveform, [500.0], direction, small_delta=3.0, big_delta=6.0).echo_time
    assert float(end) == 20.0
    with pytest.raises(
        InputError, match=r"echo_time 19 ms is shorter than 20 ms, when the gradients of Double"
    ):
        Acquisition.encode(waveform, [500.0], direction, small_delta=3.0, big_delta=6.0, echo_time=19.0)


BAD = {
    "periods": (lambda: CosineOgse(0), "CosineOgse: periods is 0, expected 1, 2"),
    "half a period": (lambda: SineOgse(1.5), "SineOgse: periods is 1.5"),
    "pause": (lambda: DoublePgse(-1.0), "DoublePgse: pause is -1.0, expected zero or positive"),
    "ramp": (lambda: Trapezoid(0.0), "Trapezoid: ramp is 0.0, expected positive"),
    "endless ramp": (lambda: Trapezoid(math.inf), "Trapezoid: ramp is inf"),
    "ramp longer than the pulse": (
        lambda: Acquisition.encode(Trapezoid(5.0), [1e3], [[1, 0, 0]], small_delta=4.0, big_delta=11.0),
        "Trapezoid: ramp is 5 ms, expected less than δ = 4 ms",
    ),
    "overlap": (
        lambda: Acquisition.encode(Trapezoid(0.5), [1e3], [[1, 0, 0]], small_delta=4.0, big_delta=4.2),
        "a pulse of 4.5 ms exceeds big_delta 4.2 ms",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_waveforms(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("name", ["a.tsv", "a.scheme", "a.bval"])
def test_files_that_hold_pulsed_gradients_refuse_others(tmp_path, name):
    acquisition = Acquisition.encode(CosineOgse(2), [500.0], [[1, 0, 0]], small_delta=4.0, big_delta=11.0)
    with pytest.raises(InputError, match=r"CosineOgse\(periods=2\), expected pulsed gradients"):
        write_acquisition(tmp_path / name, acquisition)
    assert list(tmp_path.iterdir()) == []

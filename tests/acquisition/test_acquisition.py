import math

import pytest
import torch

from torrey.acquisition import Acquisition, shells
from torrey.errors import InputError

X, Z = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]


def pgse(
    bvals=(0.0, 1000.0), bvecs=((0.0, 0.0, 0.0), (0.0, 0.0, 1.0)), small_delta=5.0, big_delta=25.0, **more
):
    return Acquisition.pgse(bvals, bvecs, small_delta=small_delta, big_delta=big_delta, **more)


def test_keeps_bvals_directions_and_timings():
    a = Acquisition.pgse([0, 500, 4000], [[0, 0, 0], X, Z], small_delta=5.1, big_delta=[10.0, 20.0, 30.0])
    assert a.n_measurements == 3
    assert a.gradients.dtype == torch.float64
    torch.testing.assert_close(a.bvals, torch.tensor([0.0, 500.0, 4000.0]).double(), rtol=1e-14, atol=0)
    torch.testing.assert_close(a.bvecs, torch.tensor([[0.0, 0, 0], X, Z]).double(), rtol=0, atol=1e-15)
    assert a.small_delta.tolist() == [5.1] * 3
    assert a.echo_time.tolist() == [15.1, 25.1, 35.1]


def test_amplitude_is_the_one_of_the_closed_form():
    # g = sqrt(b / (Δ − δ/3)) / (γδ), by hand: b = 1 ms/µm².
    expected = math.sqrt(1 / (25 - 5 / 3)) / (2.6752218744e-4 * 5)
    assert float(pgse().gradients[1].norm()) == pytest.approx(expected, rel=1e-12)


def test_directions_within_one_percent_are_normalised():
    a = pgse(bvecs=[[0, 0, 0], [0, 0, 1.009]])
    assert float(a.bvals[1]) == pytest.approx(1000, rel=1e-13)


def test_one_bval_serves_all_directions():
    assert pgse(bvals=700.0, bvecs=[X, Z]).bvals.tolist() == pytest.approx([700, 700])


@pytest.mark.parametrize("name", ["bvals", "bvecs", "small_delta", "big_delta"])
def test_gradients_flow_from_every_argument(name):
    arguments = {
        "bvals": torch.tensor([300.0, 1000.0]).double(),
        "bvecs": torch.tensor([X, [0.6, 0.0, 0.8]]).double(),
        "small_delta": torch.tensor([4.0, 5.0]).double(),
        "big_delta": torch.tensor([20.0, 25.0]).double(),
    }

    def gradients(value):
        return pgse(**(arguments | {name: value})).gradients

    assert torch.autograd.gradcheck(gradients, arguments[name].requires_grad_(True))


def test_derivative_at_zero_gradient_is_finite():
    bvals = torch.tensor([0.0, 1000.0]).double().requires_grad_(True)
    bvecs = torch.tensor([[0.0, 0, 0], Z]).double().requires_grad_(True)
    a = pgse(bvals, bvecs)
    (a.gradients.sum() + a.bvals.sum() + a.bvecs.sum()).backward()
    assert torch.isfinite(bvals.grad).all()
    assert torch.isfinite(bvecs.grad).all()


BAD = {
    "negative b": ({"bvals": [0, -1000]}, "row 1: b-value -1000 is negative"),
    "NaN b": ({"bvals": [0, math.nan]}, "row 1: bval is nan"),
    "infinite b": ({"bvals": [0, math.inf]}, "row 1: bval is inf"),
    "b in ms/µm²": ({"bvals": [0, 3.0]}, "the largest is 3, .* s/mm²"),
    "b in s/m²": ({"bvals": [0, 3e9]}, "row 1: .* expected s/mm²"),
    "b of words": ({"bvals": ["0", "1000"]}, "bvals: expected real numbers"),
    "b of truth values": ({"bvals": [False, True]}, "bvals: expected real numbers"),
    "complex b": ({"bvals": torch.ones(2) * 1j}, "bvals: expected real numbers"),
    "ragged directions": ({"bvecs": [[0, 0, 1], [0, 1]]}, "bvecs: expected numbers"),
    "one b too many": ({"bvals": [0, 1000, 1000]}, r"bvals: .* got shape \(3,\)"),
    "3×N directions": ({"bvecs": torch.zeros(3, 2)}, r"\(3, 2\); transpose it"),
    "one direction alone": ({"bvecs": X}, r"expected shape \(N, 3\), got \(3,\)"),
    "no measurement": ({"bvals": [], "bvecs": torch.zeros(0, 3)}, "at least one measurement"),
    "direction too short": ({"bvecs": [X, [0, 0, 0.5]]}, "row 1: .* length 0.5; expected a unit vector"),
    "direction 2 % too long": ({"bvecs": [X, [0, 0, 1.02]]}, "row 1: .* length 1.02"),
    "zero direction with b > 0": ({"bvecs": [X, [0, 0, 0]]}, "row 1: .* length 0;"),
    "NaN direction": ({"bvecs": [X, [0, 0, math.nan]]}, "row 1: bvec is .*nan"),
    "δ > Δ": ({"small_delta": [5, 26]}, "row 1: small_delta 26 ms exceeds big_delta 25 ms"),
    "δ = 0": ({"small_delta": 0}, r"row 0: small_delta is 0; expected positive \(ms\)"),
    "negative Δ": ({"big_delta": -25}, "row 0: big_delta is -25"),
    "NaN Δ": ({"big_delta": [25, math.nan]}, "row 1: big_delta is nan"),
    "timings in s": (
        {"small_delta": 0.005, "big_delta": 0.025},
        "small_delta 0.005 is outside .* expected ms",
    ),
    "timings in µs": ({"small_delta": 5e3, "big_delta": 25e3}, "small_delta 5000 is outside .* expected ms"),
    "three δ for two rows": ({"small_delta": [5, 5, 5]}, r"small_delta: expected one value or 2"),
    "echo before the end": ({"echo_time": 29}, "row 0: echo_time 29 ms is shorter than .* = 30 ms"),
    "echo in µs": ({"echo_time": 60e3}, "row 0: echo_time 60000 is too long; expected ms"),
    "NaN echo": ({"echo_time": math.nan}, "row 0: echo_time is nan"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_that_names_the_row(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        pgse(**arguments)
    assert "\n" not in str(caught.value)


def test_from_gradients_agrees_with_pgse():
    a = pgse([500.0, 1000.0], [X, Z])
    b = Acquisition.from_gradients(a.gradients, small_delta=5.0, big_delta=25.0)
    assert torch.equal(a.gradients, b.gradients)
    assert torch.equal(a.echo_time, b.echo_time)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_from_gradients_refuses_other_units(factor):
    gradients = factor * pgse([500.0, 1000.0], [X, Z]).gradients
    with pytest.raises(InputError, match=r"row 1: .*expected gradients in mT/m"):
        Acquisition.from_gradients(gradients, small_delta=5.0, big_delta=25.0)


def test_from_gradients_refuses_nan():
    with pytest.raises(InputError, match="row 0: gradient is"):
        Acquisition.from_gradients([[math.nan, 0, 0]], small_delta=5.0, big_delta=25.0)


def test_shells_of_makes_every_combination_directions_fastest():
    a = Acquisition.shells_of([1000, 2000], [X, Z], small_delta=5.0, big_delta=[10, 20, 40])
    assert a.n_measurements == 12
    assert a.bvals.tolist() == pytest.approx([1000, 1000, 2000, 2000] * 3)
    assert a.big_delta.tolist() == [10] * 4 + [20] * 4 + [40] * 4
    torch.testing.assert_close(a.bvecs[:2], torch.tensor([X, Z]).double())


@pytest.mark.parametrize("rows", [[1, 3], torch.tensor([1, 3]), [False, True, False, True], slice(1, 4, 2)])
def test_subset_selects_by_index_mask_or_slice(rows):
    a = Acquisition.shells_of([500, 1000], [X, Z], small_delta=5.0, big_delta=20.0)
    assert a.subset(rows).bvals.tolist() == pytest.approx([500, 1000])
    assert a.subset(rows).n_measurements == 2


def test_subset_refuses_a_matrix():
    with pytest.raises(InputError, match="subset"):
        pgse().subset([[0, 1]])


def test_shells_group_by_timings_and_jittered_bvals():
    a = Acquisition.pgse([1005, 0, 2000, 995, 1000], [Z] * 5, small_delta=5.0, big_delta=[20, 20, 20, 20, 40])
    found = shells(a)
    assert [(round(s.bval), s.big_delta, s.rows.tolist()) for s in found] == [
        (0, 20, [1]),
        (1000, 20, [0, 3]),
        (2000, 20, [2]),
        (1000, 40, [4]),
    ]

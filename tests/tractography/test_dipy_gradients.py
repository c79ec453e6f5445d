"""Derivatives of streamlines: closed forms, differences, the soft maximum's limit, what has none."""

from dataclasses import replace

import pytest
import torch
from dipy_cases import peak_field, seeds, sh_field, strength

from torrey.errors import InputError
from torrey.tractography import Grid
from torrey.tractography.fields import PeakField
from torrey.tractography.propagation import (
    BinaryStopping,
    EuDX,
    Euler,
    MaximumDirection,
    RungeKutta,
    SoftMaximumDirection,
    ThresholdStopping,
    track_dipy,
)
from torrey.tractography.propagation.dipy.batch import Propagation, grow_together
from torrey.tractography.propagation.dipy.compiled import can_compile, grow_compiled
from torrey.tractography.propagation.dipy.stages import euler

FRAME = "oblique"


def everywhere(field):
    return BinaryStopping(torch.ones(field.grid.shape))


def half(field):
    """Return a criterion that ends circles, which would else go round until they are too long."""
    mask = torch.zeros(field.grid.shape)
    mask[11:] = 1
    return BinaryStopping(mask)


def swirl(pitch=0.0):
    """Return peaks (−y, x, pitch): linear, hence interpolated exactly: circles or helices.

    They are longer than 1, which EuDX does not mind: it normalises means, and its angle only loosens.
    """
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, 3] = torch.tensor([-10.0, -10.0, -10.0])
    places = Grid((21, 21, 21), affine).to_world(
        torch.cartesian_prod(*[torch.arange(21, dtype=torch.float64)] * 3)
    )
    peaks = torch.stack([-places[:, 1], places[:, 0], torch.full_like(places[:, 0], pitch)], 1)
    return PeakField(peaks.reshape(21, 21, 21, 1, 3), torch.ones(21, 21, 21, 1), affine)


def test_a_line_has_its_exact_sensitivities():
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64, requires_grad=True)
    step = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    seed = torch.tensor([[4.0, 4.0, 4.0]], dtype=torch.float64, requires_grad=True)
    field = PeakField(axis.expand(9, 9, 9, 1, 3), torch.ones(9, 9, 9, 1), torch.eye(4))
    tracks = track_dipy(field, seed, algorithm=EuDX(), stopping=everywhere(field), step=step)
    end = tracks[0][-1]
    steps = int(((end - seed[0]).norm() / step).round())
    assert steps > 5
    for axis_of_end in range(3):
        to_axis, to_seed, to_step = torch.autograd.grad(
            end[axis_of_end], (axis, seed, step), retain_graph=True
        )
        unit = torch.eye(3, dtype=torch.float64)[axis_of_end]
        # p = p₀ + n h u/|u|, and |u| = 1
        torch.testing.assert_close(to_axis, steps * 0.3 * (unit - axis * axis[axis_of_end]).detach())
        torch.testing.assert_close(to_seed[0], unit)
        torch.testing.assert_close(float(to_step), steps * float(axis[axis_of_end].detach()))


@pytest.mark.parametrize("pitch", [0.0, 2.0])
def test_circles_and_helices_have_their_exact_sensitivities(pitch):
    """With ρ = √(x² + y² + pitch²) the direction is constant in length: the angle after s mm is s/ρ."""
    field, radius = swirl(pitch), 5.0
    seed = torch.tensor([[radius, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    start = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    tracks = track_dipy(
        field,
        seed,
        start,
        algorithm=EuDX(angle=89.0),
        stopping=half(field),
        step=0.2,
        method=RungeKutta(),
    )
    points = tracks[0]
    at_seed = int((points.detach() - seed.detach()).norm(dim=1).argmin())
    arc = torch.tensor((len(points) - 1 - at_seed) * 0.2, dtype=torch.float64)
    assert arc > 5

    def exact(seed):
        speed = (seed[0] ** 2 + seed[1] ** 2 + pitch**2).sqrt()
        turn = arc / speed
        x = seed[0] * turn.cos() - seed[1] * turn.sin()
        y = seed[0] * turn.sin() + seed[1] * turn.cos()
        return torch.stack([x, y, seed[2] + pitch * turn])

    # RK4's error: (h/ρ)⁴/120 ≈ 2e-8 of an arc of 8 mm, and five times that in derivatives
    torch.testing.assert_close(points[-1], exact(seed[0]), atol=1e-6, rtol=0)
    expected = torch.autograd.functional.jacobian(exact, seed[0].detach())
    rows = [torch.autograd.grad(points[-1, axis], seed, retain_graph=True)[0][0] for axis in range(3)]
    torch.testing.assert_close(torch.stack(rows), expected, atol=1e-6, rtol=0)


def test_orders_of_convergence():
    """Halving the step of a circle divides Euler's error by 2 and Runge–Kutta's by 16."""
    field = swirl()
    for method, order in ((Euler(), 1), (RungeKutta(), 4)):
        errors = []
        for step in (0.4, 0.2):
            tracks = track_dipy(
                field,
                torch.tensor([[5.0, 0.0, 0.0]]),
                torch.tensor([[0.0, 1.0, 0.0]]),
                algorithm=EuDX(angle=89.0),
                stopping=half(field),
                step=step,
                method=method,
            )
            at_seed = int((tracks.points - torch.tensor([5.0, 0.0, 0.0])).norm(dim=1).argmin())
            turn = torch.tensor(4.0 / 5.0, dtype=torch.float64)
            exact = 5 * torch.stack([turn.cos(), turn.sin(), 0 * turn])
            errors.append(float((tracks.points[at_seed + round(4.0 / step)] - exact).norm()))
        assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize("method", [Euler(), RungeKutta()])
@pytest.mark.parametrize("name", ["coefficients", "peaks"])
def test_central_differences(name, method):
    field, algorithm = {
        "coefficients": (sh_field(FRAME), SoftMaximumDirection(0.05, angle=45.0)),
        "peaks": (peak_field(FRAME), EuDX()),
    }[name]
    stopping = ThresholdStopping(torch.from_numpy(strength()), 0.05)
    starts = torch.from_numpy(seeds(FRAME, 8))
    which, directions = algorithm.seed_directions(field, starts)
    leaves = [getattr(field, name).clone(), starts[which], torch.tensor(0.31, dtype=torch.float64)]
    for leaf in leaves:
        leaf.requires_grad_()

    def run(image, starts, step):
        return track_dipy(
            replace(field, **{name: image}),
            starts,
            directions,
            algorithm=algorithm,
            stopping=stopping,
            step=step,
            method=method,
            min_length=0.0,
            max_length=60.0,
        )

    tracks = run(*leaves)
    assert len(tracks.points) > 100
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(tracks.points.shape, dtype=torch.float64, generator=generator)
    gradients = torch.autograd.grad((tracks.points * weights).sum(), leaves)
    for index, gradient in enumerate(gradients):
        change = torch.randn(leaves[index].shape, dtype=torch.float64, generator=generator)
        sides = []
        for sign in (1, -1):
            moved = list(leaves)
            moved[index] = (leaves[index] + sign * 1e-7 * change).detach()
            with torch.no_grad():
                side = run(*moved)
            torch.testing.assert_close(side.offsets, tracks.offsets)  # no end has moved
            sides.append((side.points * weights).sum())
        # 1e-5 is asked for; rounding of the differences is some 1e-15 × 1e3 points / 1e-7
        assert float((gradient * change).sum()) == pytest.approx(float(sides[0] - sides[1]) / 2e-7, rel=1e-5)


def test_the_soft_maximum_ends_in_the_maximum():
    field, starts = sh_field(FRAME), torch.from_numpy(seeds(FRAME, 20))
    stopping = ThresholdStopping(torch.from_numpy(strength()), 0.05)
    hard = track_dipy(field, starts, algorithm=MaximumDirection(), stopping=stopping)
    soft = {
        temperature: track_dipy(field, starts, algorithm=SoftMaximumDirection(temperature), stopping=stopping)
        for temperature in (1e-2, 1e-9)
    }
    # at 1e-9 a second vertex has a part only where two amplitudes agree to 1e-8
    torch.testing.assert_close(soft[1e-9].offsets, hard.offsets)
    torch.testing.assert_close(soft[1e-9].points, hard.points, atol=1e-9, rtol=0)
    assert len(soft[1e-2].points) != len(hard.points)


def test_what_has_no_gradient_says_so():
    field, starts = sh_field(FRAME), torch.from_numpy(seeds(FRAME, 5))
    wanting = replace(field, coefficients=field.coefficients.clone().requires_grad_())
    with pytest.raises(InputError, match="expected SoftMaximumDirection"):
        track_dipy(wanting, starts, algorithm=MaximumDirection(), stopping=everywhere(field))
    peaks = peak_field(FRAME)
    wanting = replace(peaks, values=peaks.values.clone().requires_grad_())
    with pytest.raises(InputError, match="values want a gradient"):
        track_dipy(wanting, starts, algorithm=EuDX(), stopping=everywhere(peaks))


def test_a_maximum_direction_moves_with_its_seed_and_step():
    field, starts = sh_field(FRAME), torch.from_numpy(seeds(FRAME, 5)).requires_grad_()
    step = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    tracks = track_dipy(field, starts, algorithm=MaximumDirection(), stopping=everywhere(field), step=step)
    assert len(tracks) == 5
    to_seeds, to_step = torch.autograd.grad(tracks.points[:, 0].sum(), (starts, step))
    expected = torch.zeros_like(starts)
    expected[:, 0] = tracks.n_points
    torch.testing.assert_close(to_seeds, expected)
    moved = (tracks.points - starts[tracks.seed_indices[tracks.owners]])[:, 0].sum()
    assert float(to_step) == pytest.approx(float(moved.detach()) / 0.2, rel=1e-10)


@pytest.mark.parametrize(
    ("field", "algorithm"), [(sh_field(FRAME), MaximumDirection()), (peak_field(FRAME), EuDX())]
)
@pytest.mark.parametrize("kind", [BinaryStopping, ThresholdStopping])
def test_compiled_streamlines_are_those_of_the_batch(field, algorithm, kind):
    image = torch.from_numpy(strength())
    stopping = ThresholdStopping(image, 0.05) if kind is ThresholdStopping else BinaryStopping(image > 0.05)
    which, directions = algorithm.seed_directions(field, torch.from_numpy(seeds(FRAME, 60)))
    starts = torch.from_numpy(seeds(FRAME, 60))[which]
    step = torch.tensor(0.5, dtype=torch.float64)
    how = Propagation(algorithm.rule(field), euler, stopping, step, fewest=20, most=40)
    assert can_compile(how, starts)
    batch, compiled = (grow(how, starts, directions) for grow in (grow_together, grow_compiled))
    assert 0 < len(batch.seed_indices) < len(starts)
    for one, other in zip(vars(batch).values(), vars(compiled).values(), strict=True):
        # rounding of a hundred steps
        torch.testing.assert_close(other, one, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step is 0.0; expected"),
        ({"min_length": 5.0, "max_length": 1.0}, "lengths are 5.0 to 1.0 mm"),
        ({"directions": torch.ones(5, 3)}, "direction 0 has length 1.73205; expected unit vectors"),
        ({"directions": torch.ones(4, 3)}, r"directions have shape \(4, 3\); expected \(5, 3\)"),
        ({"method": "heun"}, r"method is 'heun'; expected Euler\(\) or RungeKutta\(\)"),
        ({"stopping": BinaryStopping(torch.ones(2, 2, 2))}, "the image to stop by has shape"),
        ({"algorithm": EuDX()}, "field is a SHField; expected a PeakField for EuDX"),
    ],
)
def test_bad_input_is_told(options, message):
    field, starts = sh_field(FRAME), torch.from_numpy(seeds(FRAME, 5))
    usual = {"algorithm": MaximumDirection(), "stopping": everywhere(field)}
    with pytest.raises(InputError, match=message):
        track_dipy(field, starts, **(usual | options))


def test_settings_out_of_range_are_told():
    with pytest.raises(InputError, match=r"temperature is 0\.0"):
        SoftMaximumDirection(0.0)
    with pytest.raises(InputError, match="angle is 120"):
        MaximumDirection(angle=120)
    with pytest.raises(InputError, match="least_weight is 0"):
        EuDX(least_weight=0)

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from torrey.inverse import levenberg_marquardt
from torrey.inverse.levenberg_marquardt import LeastSquares, LevenbergMarquardt


@dataclass
class At:
    """A problem at one x: its residual, and how to linearise it."""

    x: torch.Tensor
    residual: torch.Tensor
    linearise: Callable


def problem(residual, *, admissible=lambda x: True, metric=None):
    """Return a `LeastSquares` with the autograd Jacobian of `residual`, and where it was evaluated."""
    seen = []

    def evaluate(x):
        seen.append(x.clone())
        G = torch.eye(len(x), dtype=x.dtype) if metric is None else metric
        return At(x, residual(x), lambda: (torch.func.jacrev(residual)(x), G))

    return LeastSquares(evaluate, admissible), seen


def minimise(least, start, settings, *, accepted):
    """Return the x of the minimum and why the search stopped; `accepted` takes x and its residual."""
    end, reason = levenberg_marquardt.minimise(
        least, start, settings, accepted=lambda point: accepted(point.x, point.residual)
    )
    return end.x, reason


def never(x, residual):
    return False


def rosenbrock(x):
    """Zero at (1, 1) only."""
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


PRECISE = LevenbergMarquardt(max_iterations=200, gain_tolerance=1e-14, negligible=1e-20)
START = torch.tensor([-1.2, 1.0], dtype=torch.float64)


def linear(seed=0, n=12, p=4):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(n, p, generator=generator, dtype=torch.float64)
    b = torch.randn(n, generator=generator, dtype=torch.float64)
    return A, b


def test_rosenbrock_reaches_its_minimum_from_the_usual_start():
    least, seen = problem(rosenbrock)
    x, _ = minimise(least, START, PRECISE, accepted=never)
    assert torch.allclose(x, torch.ones(2, dtype=torch.float64), atol=1e-8)
    # the literature's methods of this kind take ten to thirty Jacobians, and as many evaluations or more
    assert len(seen) < 30


def test_a_linear_problem_is_solved_in_a_few_steps():
    A, b = linear()
    visited = []
    least, _ = problem(lambda x: A @ x - b)
    settings = LevenbergMarquardt(max_iterations=10, gain_tolerance=1e-14, negligible=1e-14)
    start = torch.zeros(4, dtype=torch.float64)
    minimise(least, start, settings, accepted=lambda x, _: bool(visited.append(x.clone())))
    solution = torch.linalg.lstsq(A, b[:, None]).solution[:, 0]
    errors = [float((x - solution).norm() / solution.norm()) for x in visited]
    # the first damping is 1e-2 of the largest curvature, the next a tenth of that
    assert errors[0] == pytest.approx(1.0)
    assert errors[1] < 0.1
    assert errors[2] < 1e-3
    assert errors[-1] < 1e-6


def test_steps_do_not_depend_on_the_units_of_the_latent_when_the_metric_follows():
    scale = torch.tensor([1e-3, 50.0], dtype=torch.float64)
    paths = []
    for s in (torch.ones(2, dtype=torch.float64), scale):
        least, seen = problem(lambda y, s=s: rosenbrock(s * y), metric=torch.diag(s**2))
        minimise(least, START / s, LevenbergMarquardt(max_iterations=8), accepted=never)
        paths.append(torch.stack([s * y for y in seen]))
    # the first damping is the largest ratio of diagonals, which both share
    assert paths[0].shape == paths[1].shape
    assert torch.allclose(*paths, rtol=1e-6)


def test_every_accepted_iterate_lowers_the_misfit():
    costs = []
    least, _ = problem(rosenbrock)
    minimise(least, START, PRECISE, accepted=lambda x, F: bool(costs.append(float(F.square().sum() / 2))))
    assert len(costs) > 3
    assert all(later < earlier for earlier, later in pairwise(costs))
    assert costs[0] == pytest.approx(float(rosenbrock(START).square().sum() / 2))


@pytest.mark.parametrize("wall", [0.5, -0.9, 0.999])
def test_no_inadmissible_point_is_evaluated(wall):
    def admissible(x):
        return bool(x[0] < wall)

    least, seen = problem(rosenbrock, admissible=admissible)
    x, reason = minimise(least, START, PRECISE, accepted=never)
    assert all(admissible(point) for point in seen)
    assert admissible(x)
    assert float(rosenbrock(x).square().sum()) < float(rosenbrock(START).square().sum())
    assert reason in ("no step lowers the misfit", "no further gain predicted", "converged")


def test_the_last_accepted_iterate_is_returned():
    visited = []
    least, _ = problem(rosenbrock)
    settings = LevenbergMarquardt(max_iterations=2)
    x, reason = minimise(least, START, settings, accepted=lambda x, _: bool(visited.append(x.clone())))
    assert reason == "iteration limit"
    assert torch.equal(x, visited[-1])
    assert len(visited) == 3  # the start and one a Jacobian


def test_a_small_enough_misfit_stops_it():
    least, seen = problem(rosenbrock)
    x, reason = minimise(least, START, PRECISE, accepted=lambda x, F: float(F.norm()) < 1)
    assert reason == "within the noise"
    assert float(rosenbrock(x).norm()) < 1
    _, reason = minimise(least, x, PRECISE, accepted=lambda x, F: float(F.norm()) < 1)
    assert reason == "within the noise at the start"
    assert len(seen) > 1


def test_a_gain_below_the_negligible_one_stops_it():
    A, b = linear()
    least, _ = problem(lambda x: A @ x - b)
    solution = torch.linalg.lstsq(A, b[:, None]).solution[:, 0]
    x, reason = minimise(least, solution, LevenbergMarquardt(), accepted=never)
    assert reason == "no further gain predicted"
    assert torch.equal(x, solution)


def test_two_small_gains_in_a_row_stop_it():
    costs = []
    least, _ = problem(rosenbrock)
    settings = LevenbergMarquardt(gain_tolerance=0.9, negligible=1e-20)
    _, reason = minimise(
        least, START, settings, accepted=lambda x, F: bool(costs.append(float(F.square().sum())))
    )
    small = [later > 0.1 * earlier for earlier, later in pairwise(costs)]
    assert reason == "converged"
    assert small[-2:] == [True, True]
    assert [True, True] not in (list(pair) for pair in pairwise(small[:-1]))


def test_a_problem_whose_jacobian_lies_ends_without_a_step():
    """With the wrong sign no step lowers the misfit, and the start comes back."""
    A, b = linear()

    def evaluate(x):
        return At(x, A @ x - b, lambda: (-A, torch.eye(4, dtype=torch.float64)))

    least = LeastSquares(evaluate, lambda x: True)
    start = torch.zeros(4, dtype=torch.float64)
    x, reason = minimise(least, start, LevenbergMarquardt(negligible=1e-20), accepted=never)
    assert reason == "no step lowers the misfit"
    assert torch.equal(x, start)


def test_a_column_that_the_data_do_not_see_is_left_alone():
    A, b = linear()
    blind = A.clone()
    blind[:, 2] = 0
    least, _ = problem(lambda x: blind @ x - b)
    start = torch.full((4,), 0.7, dtype=torch.float64)
    settings = LevenbergMarquardt(gain_tolerance=1e-12, negligible=1e-12)
    x, _ = minimise(least, start, settings, accepted=never)
    seen = [0, 1, 3]
    expected = torch.linalg.lstsq(A[:, seen], b[:, None]).solution[:, 0]
    assert torch.allclose(x[seen], expected, atol=1e-5)
    assert float(x[2]) == 0.7

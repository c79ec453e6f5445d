import math

import pytest
import torch

from torrey.errors import ConvergenceError, InputError
from torrey.inverse.adam import Adam, descend


def quadratic(centre, weights=(1.0, 1.0)):
    """½Σw(x − c)² with its gradient, and a record of where it was evaluated."""
    c, w = (torch.tensor(v, dtype=torch.float64) for v in (centre, weights))
    seen = []

    def value_and_gradient(x):
        seen.append(x.clone())
        return (w * (x - c) ** 2).sum() / 2, w * (x - c)

    return value_and_gradient, seen


def never(x, loss):
    return False


def everywhere(x):
    return True


ORIGIN = torch.zeros(2, dtype=torch.float64)


def test_first_steps_are_those_of_adam_written_out():
    function, seen = quadratic((1.0, -3.0), (2.0, 0.5))
    descend(function, everywhere, ORIGIN, Adam(learning_rate=0.1, max_iterations=6), accepted=never)
    x, m, v = ORIGIN.clone(), ORIGIN.clone(), ORIGIN.clone()
    centre, weights = torch.tensor([1.0, -3.0]).double(), torch.tensor([2.0, 0.5]).double()
    for t in range(1, 7):
        assert torch.allclose(seen[t - 1], x, atol=1e-14)
        g = weights * (x - centre)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        x = x - 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    assert len(seen) == 6


def test_a_quadratic_reaches_its_minimum():
    function, _ = quadratic((1.0, -3.0), (2.0, 0.5))
    settings = Adam(learning_rate=0.05, max_iterations=2000)
    x, reason = descend(function, everywhere, ORIGIN, settings, accepted=never)
    assert torch.allclose(x, torch.tensor([1.0, -3.0], dtype=torch.float64), atol=1e-4)
    # relative gains stay large on the way to a minimum of zero, so the end is that or the limit
    assert reason in ("iteration limit", "no gain in 100 iterations")


def test_the_best_x_is_returned_not_the_last():
    function, seen = quadratic((0.3, 0.3))
    # steps of 1 overshoot the minimum at once
    x, reason = descend(
        function, everywhere, ORIGIN, Adam(learning_rate=1.0, max_iterations=2), accepted=never
    )
    losses = [float(function(point)[0]) for point in list(seen)]  # a copy: it grows
    assert float(function(x)[0]) == min(losses) < losses[-1]
    assert reason == "iteration limit"


def test_nothing_beyond_a_wall_is_evaluated_and_the_descent_ends_there():
    function, seen = quadratic((2.0, 1.0))

    def before_the_wall(x):
        return bool(x[0] < 0.5)

    settings = Adam(learning_rate=0.2, max_iterations=5000, patience=5000)
    x, reason = descend(function, before_the_wall, ORIGIN, settings, accepted=never)
    assert all(before_the_wall(point) for point in seen)
    assert reason == "no admissible step in 30 halvings"
    # halved steps end within 2^-30 of the first step from the wall
    assert 0.5 - 1e-6 < float(x[0]) < 0.5


def test_a_step_into_a_wall_is_halved_along_its_own_direction():
    function, seen = quadratic((10.0, 10.0))
    wall = 0.3
    descend(
        function,
        lambda x: bool(x.max() < wall),
        ORIGIN,
        Adam(learning_rate=1.0, max_iterations=2),
        accepted=never,
    )
    # the first step of Adam is the learning rate in each unknown; 1, 1/2 lie behind the wall and 1/4 does not
    assert torch.allclose(seen[1], torch.full((2,), 0.25, dtype=torch.float64), atol=1e-8)


def test_the_multiplier_changes_nothing_but_the_size_of_the_loss():
    paths = []
    for k in (1.0, 1e4):
        function, seen = quadratic((1.0, -3.0))
        losses = []

        def record(x, loss, losses=losses):
            losses.append(float(loss))
            return False

        settings = Adam(learning_rate=0.1, max_iterations=20, loss_multiplier=k)
        descend(function, everywhere, ORIGIN, settings, accepted=record)
        paths.append(torch.stack(seen))
        assert losses[0] == 5.0
    # Adam's 1e-8 beside gradients of about 1
    assert torch.allclose(*paths, atol=1e-6)
    tiny, seen = quadratic((1e-9, -3e-9))
    descend(tiny, everywhere, ORIGIN, Adam(learning_rate=0.1, max_iterations=2), accepted=never)
    # gradients far below 1e-8 are damped without the multiplier
    assert float(seen[1].abs().max()) < 0.03


def test_accepted_sees_every_iterate_and_stops_the_descent():
    function, seen = quadratic((1.0, 1.0))
    visited = []

    def close(x, loss):
        visited.append(x.clone())
        return float(loss) < 0.5

    x, reason = descend(function, everywhere, ORIGIN, Adam(learning_rate=0.1), accepted=close)
    assert reason == "within the noise"
    assert float(function(x)[0]) < 0.5
    assert all(torch.equal(a, b) for a, b in zip(seen, visited, strict=False))
    _, reason = descend(function, everywhere, x, Adam(learning_rate=0.1), accepted=close)
    assert reason == "within the noise at the start"


def test_patience_ends_a_descent_that_gains_nothing():
    def flat(x):
        return torch.tensor(1.0), torch.ones_like(x)

    settings = Adam(learning_rate=0.1, patience=7)
    count = []
    x, reason = descend(flat, everywhere, ORIGIN, settings, accepted=lambda x, loss: bool(count.append(1)))
    assert reason == "no gain in 7 iterations"
    assert len(count) == 8
    assert torch.equal(x, ORIGIN)


def test_the_start_is_not_changed():
    start = ORIGIN.clone()
    function, _ = quadratic((1.0, 1.0))
    descend(function, everywhere, start, Adam(learning_rate=0.1, max_iterations=3), accepted=never)
    assert torch.equal(start, ORIGIN)


def test_errors():
    function, _ = quadratic((1.0, 1.0))
    with pytest.raises(InputError, match="start is not admissible"):
        descend(function, lambda x: False, ORIGIN, Adam(learning_rate=0.1), accepted=never)
    nan = torch.tensor(math.nan)
    with pytest.raises(ConvergenceError, match="the loss is nan at iteration 0"):
        descend(lambda x: (nan, x), everywhere, ORIGIN, Adam(learning_rate=0.1), accepted=never)
    with pytest.raises(ConvergenceError, match="2 of 2 values of the gradient are not finite at iteration 0"):
        descend(lambda x: (x.sum(), x * nan), everywhere, ORIGIN, Adam(learning_rate=0.1), accepted=never)


@pytest.mark.parametrize(
    "name", ["learning_rate", "max_iterations", "loss_multiplier", "patience", "gain_tolerance"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_settings_must_be_positive(name, value):
    with pytest.raises(InputError, match=f"Adam: {name} is {value}"):
        Adam(**{"learning_rate": 0.1, name: value})

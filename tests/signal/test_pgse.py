import itertools

import numpy as np
import pytest
import torch
from reduced_models import exponential_signal, mixed_protocol, random_model
from scipy.linalg import expm

from torrey.fem.reduced import ReducedModel
from torrey.signal import groups, pgse
from torrey.signal.groups import group_measurements
from torrey.signal.pgse import SPLITTING_TOLERANCE, PgseSolution, pgse_signal
from torrey.signal.splitting import Pulse
from torrey.signal.splitting_adjoint import divided_exponential

MODELS = {"rough": random_model(repeats=False), "degenerate": random_model(repeats=True)}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]


@pytest.fixture
def fine_steps(monkeypatch):
    """Let splitting take so many steps that derivatives can be compared with exact ones."""
    monkeypatch.setattr(pgse, "_BASE_STEPS", (48, 96, 144))


def test_signals_are_those_of_matrix_exponentials(model):
    protocol = mixed_protocol()
    S = pgse_signal(model, *protocol).numpy()
    K, J, start = (t.numpy() for t in model)
    volume = start @ start
    for i, (q, delta, separation) in enumerate(zip(*(p.numpy() for p in protocol), strict=True)):
        A = np.einsum("c,cij->ij", q, J)
        state = expm(-delta * (K + 1j * A)) @ start
        state = expm(-delta * (K - 1j * A)) @ expm(-(separation - delta) * K) @ state
        expected = start @ state
        assert abs(S[i] - expected) < SPLITTING_TOLERANCE * volume
        assert abs(expected.imag) < 1e-12 * volume


@pytest.mark.parametrize("strongest", [0.1, 1.0, 4.0])
def test_stronger_gradients_take_more_steps_to_the_same_tolerance(strongest):
    model, protocol = MODELS["rough"], mixed_protocol(strongest=strongest)
    error = pgse_signal(model, *protocol) - exponential_signal(model, *protocol).real
    # twice: the estimate that decides is within a factor of two where a step winds many radians
    assert float(error.abs().max() / model.magnetisation.square().sum()) < 2 * SPLITTING_TOLERANCE


def test_no_gradient_leaves_plain_relaxation_of_modes(model):
    delta, separation = torch.tensor([3.0]).double(), torch.tensor([8.0]).double()
    S = pgse_signal(model, torch.zeros(1, 3).double(), delta, separation)
    expected = (model.magnetisation.square() * torch.exp(-11.0 * model.rates.diagonal())).sum()
    assert float(S) == pytest.approx(float(expected), rel=1e-12)


def test_chunks_order_and_company_do_not_matter(model, monkeypatch):
    q, delta, separation = mixed_protocol()
    S = pgse_signal(model, q, delta, separation)
    weights = torch.linspace(-1, 1, len(q)).double()

    def gradients():
        leaves = [t.clone().requires_grad_() for t in (*model, q)]
        signal = pgse_signal(ReducedModel(*leaves[:3]), leaves[3], delta, separation)
        return [signal.detach(), *torch.autograd.grad((weights * signal).sum(), leaves)]

    together = gradients()
    monkeypatch.setattr(
        groups.MeasurementGroups, "chunks", lambda self, _: (slice(i, i + 1) for i in range(len(self.axes)))
    )
    # what differs is the number of steps that a chunk takes, so the splitting's own error
    volume = float(model.magnetisation.square().sum())
    alone = gradients()
    torch.testing.assert_close(together[0], alone[0], rtol=0, atol=SPLITTING_TOLERANCE * volume)
    for a, b in zip(together[1:], alone[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-3 * float(a.abs().max()))
    order = torch.randperm(len(q), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        pgse_signal(model, q[order], delta[order], separation[order]),
        S[order],
        rtol=0,
        atol=SPLITTING_TOLERANCE * volume,
    )


def test_opposite_gradients_give_equal_signals(model):
    q, delta, separation = mixed_protocol()
    both = pgse_signal(model, torch.cat([q, -q]), delta.repeat(2), separation.repeat(2))
    torch.testing.assert_close(both[: len(q)], both[len(q) :], rtol=1e-12, atol=1e-12)


def _symmetric(t):
    return (t + t.mT) / 2


@pytest.mark.parametrize("repeats", [False, True])
def test_gradcheck(repeats):
    q, delta, separation = (t[:9] for t in mixed_protocol())
    rates, J, start = random_model(8, repeats=repeats)

    # ten random directions in the space of the moments, for time's sake
    directions = _symmetric(torch.randn(10, *J.shape, generator=torch.Generator().manual_seed(6)).double())

    def signal(decay, along, magnetisation, vectors):
        moved = J + torch.einsum("k,kcij->cij", along, directions)
        return pgse_signal(ReducedModel(torch.diag(decay), moved, magnetisation), vectors, delta, separation)

    inputs = tuple(t.clone().requires_grad_() for t in (rates.diagonal(), torch.zeros(10).double(), start, q))
    assert torch.autograd.gradcheck(signal, inputs, eps=1e-5, rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_matrix_exponentials(model, fine_steps):
    # also off the diagonal of the rates, which the signal itself never reads
    q, delta, separation = mixed_protocol()
    weights = torch.rand(len(q), generator=torch.Generator().manual_seed(2)).double()

    def gradients(signal_of):
        leaves = [t.clone().requires_grad_() for t in (*model, q)]
        signal = signal_of(ReducedModel(*leaves[:3]), leaves[3], delta, separation).real
        K, J, start, vectors = torch.autograd.grad((weights * signal).sum(), leaves)
        return _symmetric(K), _symmetric(J), start, vectors

    for name, ours, exact in zip(
        ("rates", "moments", "start", "q"), gradients(pgse_signal), gradients(exponential_signal), strict=True
    ):
        # measured 1e-9
        assert float((ours - exact).abs().max() / exact.abs().max()) < 1e-7, name


def test_jacobian_contracts_to_the_vjp(model, fine_steps):
    q, delta, separation = mixed_protocol()
    g = torch.Generator().manual_seed(4)
    n, P = len(model.magnetisation), 3
    tangents = ReducedModel(
        _symmetric(torch.randn(P, n, n, generator=g).double()),
        _symmetric(torch.randn(P, 3, n, n, generator=g).double()),
        torch.randn(P, n, generator=g).double(),
    )
    jacobian = PgseSolution.of(model, q, delta, separation).jacobian(tangents)
    scale = float(jacobian.abs().max())
    for i in range(len(q)):
        leaves = [t.clone().requires_grad_() for t in model]
        single = slice(i, i + 1)
        S = pgse_signal(ReducedModel(*leaves), q[single], delta[single], separation[single])
        grads = torch.autograd.grad(S.sum(), leaves)
        expected = [sum((a * b[p]).sum() for a, b in zip(grads, tangents, strict=True)) for p in range(P)]
        torch.testing.assert_close(jacobian[i], torch.stack(expected), rtol=1e-6, atol=1e-6 * scale)


def test_jacobian_with_default_steps_is_good_to_a_part_in_a_thousand():
    model, (q, delta, separation) = MODELS["rough"], mixed_protocol()
    g = torch.Generator().manual_seed(4)
    n = len(model.magnetisation)
    direction = ReducedModel(
        _symmetric(torch.randn(n, n, generator=g).double()),
        _symmetric(torch.randn(3, n, n, generator=g).double()),
        torch.randn(n, generator=g).double(),
    )
    moving = (q != 0).any(1)
    q, delta, separation = q[moving], delta[moving], separation[moving]
    tangent = ReducedModel(*(t[None] for t in direction))
    jacobian = PgseSolution.of(model, q, delta, separation).jacobian(tangent)

    def moved(step):
        return exponential_signal(
            ReducedModel(*(t + step * d for t, d in zip(model, direction, strict=True))), q, delta, separation
        ).real

    exact = (8 * (moved(1e-3) - moved(-1e-3)) - (moved(2e-3) - moved(-2e-3))) / 12e-3
    assert float((jacobian[:, 0] - exact).abs().max() / exact.abs().max()) < 2e-3


def test_splitting_is_of_sixth_order_and_its_estimate_bounds_the_error():
    model, (q, delta, separation) = MODELS["rough"], mixed_protocol(strongest=1.5)
    rows = slice(7, 9)
    grouped = group_measurements(q[rows], delta[rows], separation[rows])
    A = torch.einsum("gc,cij->gij", grouped.axes, model.moments)
    positions, rotation = torch.linalg.eigh(A)
    errors = []
    for k in (6, 12):
        pulse = Pulse(
            positions,
            rotation,
            model.rates.diagonal(),
            grouped.small_delta,
            grouped.wave_number,
            (k, 2 * k, 3 * k),
        )
        end, estimate = pulse.propagate(model.magnetisation)
        generator = model.rates + 1j * grouped.wave_number[:, 0, None, None] * A
        exact = torch.linalg.matrix_exp(
            -grouped.small_delta[:, None, None] * generator
        ) @ model.magnetisation.to(torch.complex128)
        error = (end[:, :, 0] - exact).norm(dim=1)
        assert (error < estimate[:, :, 0].norm(dim=1)).all()
        errors.append(error)
    assert (torch.log2(errors[0] / errors[1]) > 5.5).all()


def test_divided_exponential():
    rates = torch.tensor([0.0, 1e-9, 1.0, 1.0, 1.0 + 1e-7, 40.0, 900.0]).double()
    times = torch.tensor([0.0, 0.3, 5.0]).double()
    D = divided_exponential(rates, times)
    assert torch.isfinite(D).all()
    for t, (i, j) in itertools.product(range(3), itertools.product(range(7), repeat=2)):
        a, b, time = float(rates[i]), float(rates[j]), float(times[t])
        # the mean of −t e^{−t(a + s(b − a))} over s, by Gauss–Legendre
        s, w = np.polynomial.legendre.leggauss(200)
        expected = -time * (w / 2 * np.exp(-time * (a + (s + 1) / 2 * (b - a)))).sum()
        assert float(D[t, i, j]) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_groups_keep_every_measurement():
    q, delta, separation = mixed_protocol()
    grouped = group_measurements(q, delta, separation)
    back = grouped.scatter(grouped.wave_number[:, :, None] * grouped.axes[:, None])
    torch.testing.assert_close(back, q, rtol=0, atol=1e-12)
    torch.testing.assert_close(grouped.scatter(grouped.pause), separation - delta)
    torch.testing.assert_close(grouped.scatter(grouped.small_delta[:, None].expand_as(grouped.pause)), delta)
    torch.testing.assert_close(grouped.axes.norm(dim=1), torch.ones(len(grouped.axes)).double())
    # x, ±z and u₀ come several times with one δ
    assert len(grouped.axes) < len(q) - 3
    torch.testing.assert_close(grouped.scatter(grouped.gather(delta)), delta)

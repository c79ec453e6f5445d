"""Kärger's model: closed forms, an adaptive integrator, and the simulator where exchange is slow."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from signal_cases import coarse_on_purpose
from test_apparent_diffusion import check_gradient
from test_compartments import halves
from test_one_axis import mixed
from test_three_axes import mixed_encodings

from torrey.acquisition import Acquisition, DoublePgse, FreeWaveform, Trapezoid, pulse_train
from torrey.errors import InputError
from torrey.mesh import sphere_in_box
from torrey.signal import Karger, MatrixFormalism, Tissue, compartment_diffusion, simulate
from torrey.signal.karger_steps import pulse_pieces
from torrey.signal.operators import Operators
from torrey.signal.timing import pulse_timings

X = [[1.0, 0.0, 0.0]]


def pools(exchange=0.03, relaxation=(0.01, 0.02, 0.0)):
    """Three pools in a row."""
    m = torch.tensor([3.0, 1.0, 2.0]).double()
    flux = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 2.0, 0.0]]).double() * exchange
    return Karger(magnetisation=m, exchange=flux / m[:, None], relaxation=relaxation)


def test_narrow_pulses_of_two_pools():
    """Two exponentials in q²Δ (Kärger, Adv. Colloid Interface Sci. 23, 129 (1985))."""
    p, D, k = np.array([0.7, 0.3]), np.array([0.4, 2.0]), np.array([0.03, 0.07])
    delta, Delta = 0.05, 30.0
    acquisition = Acquisition.shells_of([500.0, 4000.0], X, small_delta=delta, big_delta=Delta)
    Q = (acquisition.wave_vectors[:, 0] * delta).square().numpy()
    half, root = (
        (D.sum() + k.sum() / Q) / 2,
        np.sqrt((D[1] - D[0] + (k[1] - k[0]) / Q) ** 2 + 4 * k.prod() / Q**2) / 2,
    )
    slow, fast = half - root, half + root
    share = (p @ D - slow) / (fast - slow)
    exact = (1 - share) * np.exp(-Q * slow * Delta) + share * np.exp(-Q * fast * Delta)
    model = Karger(magnetisation=p, exchange=[[0, k[0]], [k[1], 0]])
    ours = model.signal(D, acquisition).sum(1)
    # pulses of 0.05 ms take δ/3 off Δ
    np.testing.assert_allclose(ours.numpy(), exact, rtol=8 * delta / 3 / Delta)


def test_no_exchange_is_gaussian():
    acquisition, D = mixed(), [0.5, 1.0, 2.0]
    ours = pools(exchange=0.0).signal(D, acquisition)
    b, echo = acquisition.bvals / 1000, acquisition.echo_time
    rates = torch.tensor([0.01, 0.02, 0.0], dtype=torch.float64)
    exact = torch.tensor([3.0, 1.0, 2.0]) * torch.exp(
        -b[:, None] * torch.tensor(D).double() - echo[:, None] * rates
    )
    # the tolerance of the steps
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-8)


def test_nothing_is_lost_without_a_gradient():
    still = Acquisition.shells_of([0.0], X, small_delta=5.0, big_delta=[10.0, 80.0])
    ours = pools(relaxation=0.0).signal([0.5, 1.0, 2.0], still)
    torch.testing.assert_close(ours, torch.tensor([[3.0, 1.0, 2.0]] * 2).double(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("waveform", [Trapezoid(1.0), DoublePgse(2.0)])
def test_against_an_adaptive_integrator(waveform):
    acquisition = Acquisition.encode(waveform, [2500.0], X, small_delta=6.0, big_delta=11.0, echo_time=40.0)
    model, D = pools(), np.array([0.5, 1.0, 2.0])
    q = float(acquisition.wave_vectors[0, 0])
    delta, Delta = acquisition.small_delta[0], acquisition.big_delta[0]
    lead = (40.0 - float(waveform.duration(delta, Delta))) / 2
    k = model.exchange.numpy()
    static = k.T - np.diag(k.sum(1) + model.relaxation.numpy())
    starts = [(lead + float(s), sign) for s, sign in waveform.pulses(delta, Delta)]
    length = float(waveform.pulse_duration(delta))

    def slope(t, S):
        F = sum(
            sign * float(waveform.running_integral(torch.tensor(min(max(t - s, 0.0), length)), 6.0))
            for s, sign in starts
        )
        return (static - (q * F) ** 2 * np.diag(D)) @ S

    exact = solve_ivp(
        slope, (0, 40), model.magnetisation.numpy(), method="DOP853", rtol=1e-10, atol=1e-12, max_step=0.5
    )
    ours = model.signal(D, acquisition)[0]
    # the tolerance of the steps, 1e-9 of the 6 in all
    np.testing.assert_allclose(ours.numpy(), exact.y[:, -1], rtol=0, atol=1e-8)


def free_waveforms():
    """b-tensors of all shapes turned to two axes, and gradients without any symmetry, with pauses."""
    generator = torch.Generator().manual_seed(4)
    samples = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    samples = 600 * (samples - samples.mean(1, keepdim=True))
    whole = Acquisition.concatenate([mixed_encodings(), Acquisition.from_waveforms(samples, raster=1.5)])
    times = whole.small_delta, whole.big_delta, whole.echo_time + 3.0
    return Acquisition(whole.gradients, *times, whole.waveforms, whole.waveform_of)


TENSORS = torch.tensor(
    [
        [[1.0, 0.4, 0.0], [0.4, 0.7, 0.1], [0.0, 0.1, 0.5]],
        [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]],
        [[1.0, -0.3, 0.2], [-0.3, 0.3, 0.0], [0.2, 0.0, 1.5]],
    ]
).double()


def test_no_exchange_is_gaussian_in_the_b_tensor():
    """exp(−B:D − r TE) of each pool."""
    acquisition, relaxation = free_waveforms(), torch.tensor([0.01, 0.02, 0.0], dtype=torch.float64)
    free = torch.tensor([isinstance(w, FreeWaveform) for w in acquisition.waveforms])[acquisition.waveform_of]
    B = acquisition.b_tensors / 1000
    for D in (TENSORS, [0.5, 1.0, 2.0]):
        ours = pools(exchange=0.0).signal(D, acquisition)
        matrices = torch.as_tensor(D).double()
        if matrices.ndim == 1:
            matrices = matrices[:, None, None] * torch.eye(3)
        attenuation = torch.einsum("nuv,cuv->nc", B, matrices)
        late = acquisition.echo_time[:, None] * relaxation
        exact = torch.tensor([3.0, 1.0, 2.0]) * torch.exp(-attenuation - late)
        # two Gauss points integrate q(t)ᵀDq(t), of second order in t, exactly
        torch.testing.assert_close(ours[free], exact[free], rtol=1e-10, atol=0)


def test_pulses_on_a_raster_are_those_along_one_axis():
    axes = torch.nn.functional.normalize(torch.tensor([[0.0, 0, -1], [0.3, -0.5, 0.2], [1, 0, 0]]).double())
    train = pulse_train([[0, 0, 1.0]], small_delta=4.0, big_delta=10.0)
    there = Acquisition.pgse([1800.0] * 3, axes, small_delta=4.0, big_delta=10.0, echo_time=17.0)
    here = Acquisition.rotated(train, [1800.0] * 3, axes, echo_time=17.0)
    for D in (TENSORS, [0.5, 1.0, 2.0], torch.rand(3, 3, generator=torch.Generator().manual_seed(0))):
        ours, theirs = (pools(exchange=0.3).signal(D, a) for a in (here, there))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-8)


def test_gradients_that_turn_against_an_adaptive_integrator():
    """Its own integral of the waveform, cell by cell."""
    acquisition, model = free_waveforms().subset([4, 7, 13]), pools(exchange=0.2)
    k = model.exchange.numpy()
    static = k.T - np.diag(k.sum(1) + model.relaxation.numpy())
    ours = model.signal(TENSORS, acquisition).numpy()
    for row in range(3):
        waveform = acquisition.waveforms[int(acquisition.waveform_of[row])]
        gradient = acquisition.free_wave_vectors(torch.tensor([row]))[0].numpy()
        lead = (float(acquisition.echo_time[row]) - len(gradient) * waveform.raster) / 2
        state = expm(lead * static) @ model.magnetisation.numpy()
        q = np.zeros(3)
        for g in gradient:

            def slope(t, S, q=q, g=g):
                now = q + t * g
                return (static - np.diag(np.einsum("u,cuv,v->c", now, TENSORS.numpy(), now))) @ S

            state = solve_ivp(slope, (0, waveform.raster), state, method="DOP853", rtol=1e-11, atol=1e-13).y[
                :, -1
            ]
            q = q + waveform.raster * g
        # the tolerance of the steps, 1e-9 of the 6 in all
        np.testing.assert_allclose(ours[row], expm(lead * static) @ state, rtol=0, atol=1e-8)


def test_gradients_in_every_sample_and_tensor():
    generator = torch.Generator().manual_seed(5)
    samples = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    turn = torch.randn(1, 6, 3, generator=generator, dtype=torch.float64)
    samples, turn = (600 * (x - x.mean(1, keepdim=True)) for x in (samples, turn))
    change = torch.diag_embed(torch.rand(3, 3, generator=generator, dtype=torch.float64))

    def total(step):
        acquisition = Acquisition.from_waveforms(samples + step[0] * turn, raster=2.0)
        model = pools(exchange=0.1 * (1 + step[1]))
        return model.signal(TENSORS + step[2] * change, acquisition)[:, 1].sum()

    leaf = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    check_gradient(total, leaf, torch.tensor([0.1, 1.0, 1.0]).double())


def test_steps_are_of_fourth_order():
    acquisition = Acquisition.encode(Trapezoid(1.0), [2500.0], X, small_delta=6.0, big_delta=11.0)
    ((timing, _),) = pulse_timings(acquisition)
    model, rates = pools(exchange=0.3), acquisition.wave_vectors[:, :1] ** 2 * torch.tensor([0.5, 1.0, 2.0])
    eight, sixteen, exact = (model._march(pulse_pieces(timing, rates, n)) for n in (8, 16, 128))
    # 2⁴, and 2² where the commutator is wrong
    assert float((eight - exact).norm() / (sixteen - exact).norm()) == pytest.approx(16, rel=0.05)


def test_three_ways_to_give_a_diffusivity():
    acquisition = mixed().subset([0, 3])
    u = acquisition.bvecs
    D = torch.diag_embed(torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5], [1.0, 1.0, 1.0]]).double())
    along = torch.einsum("ni,cij,nj->nc", u, D, u)
    torch.testing.assert_close(pools().signal(D, acquisition), pools().signal(along, acquisition))
    one = pools().signal([1.0, 1.0, 1.0], acquisition)
    torch.testing.assert_close(pools().signal(torch.eye(3).expand(3, 3, 3), acquisition), one)


def test_exchange_is_the_slowest_decay_of_the_mesh():
    """As κR/D → 0 the first mode equalises the two compartments, at the rate k₀₁ + k₁₀."""
    mesh = sphere_in_box(3.0, 8.0, resolution=3)
    errors = []
    for kappa in (0.02, 0.002):
        tissue = Tissue(diffusivity=2.0, spin_density=[1.0, 0.5], permeability={(0, 1): kappa})
        model = Karger.of(mesh, tissue)
        decay = Operators.of(mesh, tissue, order=1).modes(count=2).values[1]
        errors.append(float(model.exchange.sum()) / decay - 1)
    # spins that have yet to come to the wall: κR/5D inside, as much outside; falls with κ
    assert 0 < errors[0] < 0.03
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)


def test_simulated_signals_of_slow_exchange():
    mesh = sphere_in_box(2.0, 5.0, resolution=2)
    D = [1.5, 1.5]
    tissue = Tissue(diffusivity=D, T2=[30.0, 90.0], spin_density=[1.0, 0.6], permeability={(0, 1): 0.02})
    acquisition = Acquisition.shells_of([0.0, 400.0, 800.0], X, small_delta=4.0, big_delta=[10.0, 50.0])
    model, apart = Karger.of(mesh, tissue), torch.zeros(6, 2).double()
    apart[acquisition.bvals > 0] = compartment_diffusion(
        mesh, Tissue(diffusivity=D), acquisition.subset(acquisition.bvals > 0)
    )
    ours = model.signal(apart, acquisition).sum(1)
    closed = Karger(
        magnetisation=model.magnetisation, exchange=torch.zeros(2, 2), relaxation=model.relaxation
    )
    without = closed.signal(apart, acquisition).sum(1)
    with coarse_on_purpose():
        exact = simulate(mesh, tissue, acquisition, solver=MatrixFormalism(modes=40)).real
    error = (ours - exact).abs() / exact
    # κR/D is 0.03, and b·ADC at most 0.4
    assert float(error.max()) < 4e-3
    # without exchange the late echoes are off by much more
    assert float(((without - exact).abs() / exact)[3:].min()) > 5 * float(error.max())


def test_gradients():
    mesh, acquisition = halves(), mixed().subset([1, 4, 9])
    generator = torch.Generator().manual_seed(2)
    u = 0.1 * torch.randn(mesh.vertices.shape, generator=generator, dtype=torch.float64)
    D = torch.tensor([0.5, 1.0]).double()

    def total(step):
        tissue = Tissue(
            spin_density=torch.stack([1 + step[0], 0.6 + 0 * step[0]]),
            T2=torch.stack([40 * (1 + step[1]), 80 + 0 * step[1]]),
            permeability={(0, 1): 0.1 * (1 + step[2])},
            surface_relaxivity={1: 0.02 * (1 + step[3])},
        )
        model = Karger.of(mesh.with_vertices(mesh.vertices + step[4] * u), tissue)
        return model.signal(D * (1 + step[5]), acquisition)[:, 0].sum()

    for direction in torch.randn(2, 6, generator=generator, dtype=torch.float64):
        check_gradient(total, torch.zeros(6, dtype=torch.float64, requires_grad=True), direction)


def test_walls_are_measured():
    """A box of 3 × 2.5 × 5 µm in two halves."""
    tissue = Tissue(
        spin_density=[1.0, 0.6], T2=[40.0, 80.0], permeability={(0, 1): 0.1}, surface_relaxivity={1: 0.02}
    )
    model = Karger.of(halves(), tissue)
    volume, area, walls = 3 * 2.5 * 2.5, 3 * 2.5, 3 * 2.5 + 2 * (3 + 2.5) * 2.5
    k = 0.1 * 2 / 1.6 * area / volume
    assert model.magnetisation.tolist() == pytest.approx([volume, 0.6 * volume])
    np.testing.assert_allclose(model.exchange.numpy(), [[0, 0.6 * k], [k, 0]], rtol=1e-12)
    assert model.relaxation.tolist() == pytest.approx([1 / 40, 1 / 80 + 0.02 * walls / volume])


def test_bad_values_are_refused():
    with pytest.raises(InputError, match=r"expected magnetisation \(C,\), exchange \(C, C\)"):
        Karger(magnetisation=[1.0, 2.0], exchange=[[0.0, 1.0]])
    with pytest.raises(InputError, match=r"exchange is .*expected finite and not negative"):
        Karger(magnetisation=[1.0, 1.0], exchange=[[0.0, -1.0], [-1.0, 0.0]])
    with pytest.raises(InputError, match="expected the same from i to j and back"):
        Karger(magnetisation=[1.0, 2.0], exchange=[[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(
        InputError, match=r"diffusivity: expected \(3,\), \(3, 3, 3\) or \(1, 3\), got \(2,\)"
    ):
        pools().signal([1.0, 2.0], mixed().subset([0]))
    with pytest.raises(InputError, match="diffusivity: expected finite and not negative"):
        pools().signal([1.0, -2.0, 1.0], mixed().subset([0]))

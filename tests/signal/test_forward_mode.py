"""Forward mode: derivatives along one direction against reverse mode and differences."""

import pytest
import torch
from reduced_models import random_model
from signal_cases import coarse_on_purpose, few_measurements
from test_compartments import halves
from test_one_axis import mixed
from test_three_axes import free, random_waveforms
from torch.autograd import forward_ad

from torrey.acquisition import Acquisition, axisymmetric_encoding
from torrey.fem.reduced import ReducedModel
from torrey.signal import BlochTorrey, MatrixFormalism, Tissue, simulate, simulate_compartments
from torrey.signal.one_axis import one_axis_signal
from torrey.signal.three_axes import three_axes_signal


def random(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_closed_wall_has_a_derivative_in_both_modes():
    mesh, protocol = halves(), few_measurements().subset(slice(6, 12))
    values = torch.zeros((), dtype=torch.float64)

    def signal(kappa):
        tissue = Tissue(diffusivity=[1.0, 2.0], permeability={(0, 1): kappa})
        with coarse_on_purpose():
            return simulate(mesh, tissue, protocol, solver=MatrixFormalism(modes=10_000)).real

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(values, torch.ones_like(values))
        tangent = forward_ad.unpack_dual(signal(dual)).tangent
    leaf = values.clone().requires_grad_()
    (pulled,) = torch.autograd.grad(signal(leaf).sum(), leaf)
    assert abs(float(pulled)) > 1e-3 * float(mesh.volume)
    assert float(tangent.sum()) == pytest.approx(float(pulled), rel=1e-7)


@pytest.mark.parametrize(
    "solver",
    [
        MatrixFormalism(modes=10_000),
        MatrixFormalism(modes=21),
        MatrixFormalism(modes=21, exact_gradient=True),
    ],
    ids=["complete", "fixed basis", "exact gradient"],
)
@pytest.mark.parametrize("what", ["vertices", "permeability", "T2", "gradients"])
def test_forward_mode_is_the_transpose_of_reverse_mode(solver, what):
    mesh, protocol = halves(), few_measurements().subset(slice(0, None, 3))
    mesh = mesh.with_vertices(mesh.vertices + 0.05 * random(0, *mesh.vertices.shape))
    values = {
        "vertices": mesh.vertices,
        "permeability": torch.tensor(0.3, dtype=torch.float64),
        "T2": torch.tensor([40.0, 90.0], dtype=torch.float64),
        "gradients": protocol.gradients,
    }
    direction = random(1, *values[what].shape)
    weights = random(2, protocol.n_measurements)

    def signal(value):
        now = {**values, what: value}
        tissue = Tissue(diffusivity=[1.0, 2.0], T2=now["T2"], permeability={(0, 1): now["permeability"]})
        timings = (protocol.small_delta, protocol.big_delta, protocol.echo_time)
        with coarse_on_purpose():
            return simulate(
                mesh.with_vertices(now["vertices"]),
                tissue,
                Acquisition(now["gradients"], *timings),
                solver=solver,
            ).real

    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(signal(forward_ad.make_dual(values[what], direction))).tangent
    leaf = values[what].clone().requires_grad_()
    (pulled,) = torch.autograd.grad(signal(leaf) @ weights, leaf)
    # both are those of the same steps; what is left is rounding and the solves outside the span
    assert float(tangent @ weights) == pytest.approx(float((pulled * direction).sum()), rel=1e-7)


def forward_and_reverse(signal, values, directions, weights):
    """Return the derivative of Re Σ weights* signal along `directions`, by forward and by reverse mode."""
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(*pair) for pair in zip(values, directions, strict=True)]
        tangent = forward_ad.unpack_dual(signal(*duals)).tangent
    leaves = [value.clone().requires_grad_() for value in values]
    pulled = torch.autograd.grad((weights.conj() * signal(*leaves)).real.sum(), leaves)
    along = sum(float((bar * d).sum()) for bar, d in zip(pulled, directions, strict=True))
    return float((weights.conj() * tangent).real.sum()), along


@pytest.mark.parametrize("repeats", [True, False])
def test_tangents_of_a_reduced_model_with_one_axis(repeats):
    """Where decay rates and positions are equal too, and with a measurement that has no gradient."""
    model, gradients = random_model(8, repeats=repeats), mixed().gradients.clone()
    gradients[4] = 0
    # sine OGSE, even in time, along x, where a model that repeats has two positions only
    gradients[6] = gradients[6].norm() * torch.tensor([1.0, 0.0, 0.0])

    def signal(rates, moments, start, observers, gradients):
        # double PGSE, cosine and sine OGSE, trapezoid
        acquisition = mixed(gradients).subset([2, 4, 6, 8])
        return one_axis_signal(ReducedModel(rates, moments, start), acquisition, observers)

    # the signal depends on gradients in mT/m a thousand times less
    directions = [*symmetric_change(), 1e4 * random(4, *gradients.shape)]
    weights = torch.complex(random(5, 4, 2), random(6, 4, 2))
    tangent, pulled = forward_and_reverse(signal, [*model, random(8, 2, 8), gradients], directions, weights)
    # rounding of divided differences only: both are those of the same steps
    assert tangent == pytest.approx(pulled, rel=1e-10)


@pytest.mark.parametrize("repeats", [True, False])
def test_tangents_of_a_reduced_model_with_three_axes(repeats):
    model, gradients = random_model(8, repeats=repeats), random_waveforms(2, 4)

    def signal(rates, moments, start, observers, gradients):
        return three_axes_signal(ReducedModel(rates, moments, start), free(gradients), observers)

    directions = [*symmetric_change(), 1e4 * balanced(random(4, *gradients.shape))]
    weights = torch.complex(random(5, 2, 2), random(6, 2, 2))
    tangent, pulled = forward_and_reverse(signal, [*model, random(8, 2, 8), gradients], directions, weights)
    assert tangent == pytest.approx(pulled, rel=1e-10)


def symmetric_change():
    """Return changes of a reduced model of eight modes, and of two observers."""
    rates, moments = random(1, 8, 8), random(2, 3, 8, 8)
    return rates + rates.mT, moments + moments.mT, random(3, 8), random(9, 2, 8)


def balanced(samples):
    return samples - samples.mean(1, keepdim=True)


def encodings():
    axes = torch.nn.functional.normalize(torch.tensor([[0.2, -0.4, 0.9], [1.0, 0.1, 0.3]]).double())
    spherical = Acquisition.rotated(axisymmetric_encoding(0.0, 10.0, n_cells=10), [300.0, 600.0], axes)
    pulses = Acquisition.pgse([600.0], axes[:1], small_delta=3.0, big_delta=5.0)
    return {
        "double PGSE": mixed().subset([2, 3]),
        "cosine OGSE": mixed().subset([4, 5]),
        "trapezoid": mixed().subset([8, 9]),
        "spherical b-tensor": spherical,
        "mixed": Acquisition.concatenate([pulses, mixed().subset([6]), spherical.subset([1])]),
    }


ENCODINGS = encodings()


@pytest.mark.parametrize("name", ENCODINGS)
def test_tangents_of_every_waveform_on_a_permeable_mesh(name):
    """All of a tissue at once, against reverse mode and against differences."""
    mesh, protocol = halves((1, 1, 3)), ENCODINGS[name]
    values = [mesh.vertices + 0.1 * random(0, *mesh.vertices.shape)]
    values += [torch.tensor(v, dtype=torch.float64) for v in (0.3, [1.0, 2.0], [40.0, 90.0], [0.8, 1.0])]
    values.append(protocol.gradients)
    scales = (0.1, 0.1, 0.2, 10.0, 0.1, 5.0)
    directions = [s * random(k, *v.shape) for k, (s, v) in enumerate(zip(scales, values, strict=True))]
    weights = torch.complex(random(7, len(protocol.gradients)), random(8, len(protocol.gradients)))
    times = protocol.small_delta, protocol.big_delta, protocol.echo_time

    def signal(*moved):
        vertices, kappa, D, T2, density, gradients = moved
        tissue = Tissue(diffusivity=D, T2=T2, spin_density=density, permeability={(0, 1): kappa})
        acquisition = Acquisition(gradients, *times, protocol.waveforms, protocol.waveform_of)
        with coarse_on_purpose():
            return simulate(
                mesh.with_vertices(vertices), tissue, acquisition, solver=MatrixFormalism(modes=10_000)
            )

    tangent, pulled = forward_and_reverse(signal, values, directions, weights)
    assert tangent == pytest.approx(pulled, rel=1e-10)
    h = 3e-4
    with torch.no_grad():
        before, after = (
            float((weights.conj() * signal(*moved)).real.sum())
            for moved in ([v + s * d for v, d in zip(values, directions, strict=True)] for s in (-h, h))
        )
    # the basis is complete; the square of h, and rounding over it
    assert tangent == pytest.approx((after - before) / (2 * h), rel=1e-6)


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        (MatrixFormalism(modes=9), "mixed"),
        (MatrixFormalism(modes=9, exact_gradient=True), "double PGSE"),
        (BlochTorrey(tolerance=1e-2), "trapezoid"),
    ],
    ids=["fixed basis", "exact gradient", "stepping"],
)
def test_tangents_of_each_compartment(solver, name):
    """Against reverse mode, whose gradients are tested against differences."""
    mesh, protocol = halves((1, 1, 3)), ENCODINGS[name]
    values = [mesh.vertices + 0.1 * random(0, *mesh.vertices.shape)]
    values += [torch.tensor(v, dtype=torch.float64) for v in (0.3, [1.0, 2.0], [40.0, 90.0])]
    values.append(protocol.gradients)
    directions = [random(k, *v.shape) for k, v in enumerate(values)]
    weights = torch.complex(random(7, len(values[-1]), 2), random(8, len(values[-1]), 2))
    times = protocol.small_delta, protocol.big_delta, protocol.echo_time

    def signal(vertices, kappa, D, T2, gradients):
        tissue = Tissue(diffusivity=D, T2=T2, permeability={(0, 1): kappa})
        acquisition = Acquisition(gradients, *times, protocol.waveforms, protocol.waveform_of)
        with coarse_on_purpose():
            return simulate_compartments(mesh.with_vertices(vertices), tissue, acquisition, solver=solver)

    tangent, pulled = forward_and_reverse(signal, values, directions, weights)
    # the solves outside the span of all modes are good to 1e-9
    assert tangent == pytest.approx(pulled, rel=1e-7)


def test_tangents_of_time_stepping():
    mesh, gradients = halves((1, 1, 3)), random_waveforms(1, 3)
    values = [mesh.vertices, torch.tensor(0.2, dtype=torch.float64), gradients]
    directions = [0.1 * random(0, *mesh.vertices.shape), torch.ones((), dtype=torch.float64)]
    directions.append(5 * balanced(random(1, *gradients.shape)))
    weights = torch.complex(random(2, 1), random(3, 1))

    def signal(vertices, kappa, gradients):
        tissue = Tissue(diffusivity=[1.0, 2.0], T2=[40.0, 90.0], permeability={(0, 1): kappa})
        with coarse_on_purpose():
            return simulate(
                mesh.with_vertices(vertices), tissue, free(gradients), solver=BlochTorrey(tolerance=1e-2)
            )

    tangent, pulled = forward_and_reverse(signal, values, directions, weights)
    assert tangent == pytest.approx(pulled, rel=1e-10)

"""Forward mode: derivatives along one direction for all measurements, against the adjoint of each."""

import pytest
import torch
from signal_cases import coarse_on_purpose, few_measurements
from test_compartments import halves
from torch.autograd import forward_ad

from torrey.acquisition import Acquisition
from torrey.signal import MatrixFormalism, Tissue, simulate


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

"""Derivatives of signals against differences of the same truncated computation on moved meshes."""

import pytest
import torch
from signal_cases import TISSUE, coarse_on_purpose, cube, few_measurements, rotation, small_shapes

from torrey.acquisition import Acquisition
from torrey.fem import eigenmodes
from torrey.fem.geometry import Coefficients
from torrey.fem.reduced import reduced_tangents
from torrey.mesh import cylinder, deform
from torrey.mesh.deform import Bend
from torrey.signal import MatrixFormalism, Tissue, simulate
from torrey.signal.pgse import PgseSolution

SHAPES = small_shapes()
PROTOCOL = few_measurements()
STEP = 1e-2
"""Of a displacement of 0.01 µm: smaller steps show rounding, larger ones the fifth derivative."""


def displacements(vertices):
    """Rough and smooth fields (V, 3) of about 0.01 µm."""
    x = vertices - vertices.mean(0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = x[:, 2] / x[:, 2].abs().max()
    # the stretch keeps the derivative from vanishing by symmetry, as that of a bend does on a straight shape
    bend = torch.stack([z**2, 0 * z, z / 2], dim=1)
    swell = x * torch.tensor([1.0, 1.0, 0.0]) * (1 + z.sin())[:, None] / 4
    return {"rough": 0.01 * noise, "bend": 0.01 * bend, "swell": 0.01 * swell}


def weights(n, seed=0):
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weighted_signal(mesh, tissue, protocol, solver):
    with coarse_on_purpose():
        signal = simulate(mesh, tissue, protocol, solver=solver).real
    return (weights(len(signal)) * signal).sum()


def fourth_order(f, step=STEP):
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def gap_count(mesh, protocol, least):
    """A count that the cut of this mesh keeps, so that moved meshes keep as many."""
    with coarse_on_purpose():
        return MatrixFormalism(modes=least).basis(mesh, TISSUE, protocol).modes.n_modes


def relative_errors(mesh, solver, protocol=PROTOCOL):
    vertices = mesh.vertices.clone().requires_grad_()
    weighted_signal(mesh.with_vertices(vertices), TISSUE, protocol, solver).backward()
    recomputed = MatrixFormalism(modes=solver.modes, length_scale=solver.length_scale, order=solver.order)
    errors = {}
    for name, u in displacements(mesh.vertices).items():
        with torch.no_grad():
            expected = float(
                fourth_order(
                    lambda s, u=u: weighted_signal(
                        mesh.with_vertices(mesh.vertices + s * u), TISSUE, protocol, recomputed
                    )
                )
            )
        errors[name] = abs(float((vertices.grad * u).sum()) - expected) / abs(expected)
    return errors


@pytest.mark.parametrize("name", SHAPES)
def test_exact_mode(name):
    mesh = SHAPES[name]
    n = gap_count(mesh, PROTOCOL, 30)
    errors = relative_errors(mesh, MatrixFormalism(modes=n, exact_gradient=True))
    assert max(errors.values()) < 1e-6, errors


def test_exact_mode_on_the_sparse_path(monkeypatch):
    monkeypatch.setattr(eigenmodes, "DENSE_BELOW", 0)
    mesh = SHAPES["beaded"]
    n = gap_count(mesh, PROTOCOL, 30)
    errors = relative_errors(mesh, MatrixFormalism(modes=n, exact_gradient=True))
    assert max(errors.values()) < 1e-6, errors


def test_exact_mode_with_second_order_elements():
    mesh = deform(cylinder(2.0, 10.0, n_rings=1, n_layers=6), Bend(0.03))
    n = gap_count(mesh, PROTOCOL, 20)
    errors = relative_errors(mesh, MatrixFormalism(modes=n, order=2, exact_gradient=True))
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("name", SHAPES)
def test_complete_basis_needs_no_exact_mode(name):
    mesh = SHAPES[name]
    errors = relative_errors(mesh, MatrixFormalism(modes=mesh.n_vertices))
    assert max(errors.values()) < 1e-6, errors


@pytest.mark.parametrize("name", SHAPES)
def test_fixed_basis_at_one_micrometre(name):
    # as fine as its cut deserves: with few more nodes than modes the basis would be nearly complete
    fine = {
        "straight": lambda: cylinder(1.5, 6.0, n_rings=3, n_layers=14),
        "sphere": lambda: small_shapes()["sphere"],
    }
    mesh = fine.get(name, lambda: SHAPES[name])()
    errors = relative_errors(mesh, MatrixFormalism(length_scale=1.0))
    assert errors["rough"] < 1e-2, errors
    assert max(errors["bend"], errors["swell"]) < 2e-3, errors


def test_diffusion_tensor():
    mesh = SHAPES["bent"]
    D = torch.tensor([[2.0, 0.1, 0.0], [0.1, 1.7, -0.2], [0.0, -0.2, 1.4]], dtype=torch.float64)
    g = torch.Generator().manual_seed(8)
    direction = torch.randn(3, 3, generator=g, dtype=torch.float64)
    direction = (direction + direction.T) / 20
    n = gap_count(mesh, PROTOCOL, 30)
    solver = MatrixFormalism(modes=n, exact_gradient=True)
    leaf = D.clone().requires_grad_()
    weighted_signal(mesh, Tissue(diffusivity=leaf), PROTOCOL, solver).backward()
    with torch.no_grad():
        expected = fourth_order(
            lambda s: weighted_signal(mesh, Tissue(diffusivity=D + s * direction), PROTOCOL, solver)
        )
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(expected), rel=1e-6)


def test_scalar_diffusivity_relaxation_and_density():
    mesh = SHAPES["beaded"]
    solver = MatrixFormalism(modes=gap_count(mesh, PROTOCOL, 30), exact_gradient=True)
    point = torch.tensor([2.0, 60.0, 0.8], dtype=torch.float64)

    def signal(p):
        return weighted_signal(mesh, Tissue(diffusivity=p[0], T2=p[1], spin_density=p[2]), PROTOCOL, solver)

    leaf = point.clone().requires_grad_()
    signal(leaf).backward()
    for axis, unit in enumerate(torch.eye(3, dtype=torch.float64)):
        with torch.no_grad():
            expected = float(fourth_order(lambda s, unit=unit: signal(point + s * unit * point)))
        assert float(leaf.grad[axis] * point[axis]) == pytest.approx(expected, rel=1e-6)


def test_gradient_vectors():
    mesh = SHAPES["bent"]
    solver = MatrixFormalism(modes=40)
    g = torch.Generator().manual_seed(9)
    direction = 5 * torch.randn(PROTOCOL.gradients.shape, generator=g, dtype=torch.float64)

    def signal(gradients):
        moved = Acquisition(gradients, PROTOCOL.small_delta, PROTOCOL.big_delta, PROTOCOL.echo_time)
        return weighted_signal(mesh, TISSUE, moved, solver)

    leaf = PROTOCOL.gradients.clone().requires_grad_()
    signal(leaf).backward()
    with torch.no_grad():
        expected = fourth_order(lambda s: signal(PROTOCOL.gradients + s * direction))
    # 1e-5: grouping by axis differs between the two sides, and with it the splitting's own error
    assert float((leaf.grad * direction).sum()) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(leaf.grad[PROTOCOL.bvals == 0], torch.zeros(12, 3).double())


@pytest.mark.parametrize("exact", [False, True], ids=["fixed", "exact"])
@pytest.mark.parametrize("modes", [4, 11, 40, 10_000])
@pytest.mark.parametrize("name", ["cube", "sphere", "straight"])
def test_symmetric_shapes_have_finite_symmetric_gradients(name, modes, exact):
    mesh = cube() if name == "cube" else SHAPES[name]
    # straight ahead along every axis of symmetry, where positions are degenerate too
    axes = torch.eye(3, dtype=torch.float64)
    protocol = Acquisition.shells_of([0.0, 2000.0], axes, small_delta=5.0, big_delta=20.0)
    vertices = mesh.vertices.clone().requires_grad_()
    gradients = protocol.gradients.clone().requires_grad_()
    moved = Acquisition(gradients, protocol.small_delta, protocol.big_delta, protocol.echo_time)
    with coarse_on_purpose():
        solver = MatrixFormalism(modes=modes, exact_gradient=exact)
        signal = simulate(mesh.with_vertices(vertices), TISSUE, moved, solver=solver).real
    x_bar, g_bar = torch.autograd.grad(signal.sum(), (vertices, gradients))
    assert torch.isfinite(x_bar).all()
    assert torch.isfinite(g_bar).all()
    assert float(x_bar.abs().max()) > 1e-3
    # all three meshes are their own point reflection, and the three axes together are too
    partner = torch.cdist(mesh.vertices, -mesh.vertices).argmin(1)
    if torch.allclose(mesh.vertices[partner], -mesh.vertices, atol=1e-9) and name == "cube":
        scale = float(x_bar.abs().max())
        assert float((x_bar[partner] + x_bar).abs().max()) < 1e-7 * scale


@pytest.mark.parametrize("exact", [False, True], ids=["fixed", "exact"])
def test_gradients_turn_with_the_shape(exact):
    mesh, Q = SHAPES["bent"], rotation()
    n = gap_count(mesh, PROTOCOL, 30)

    def gradient(vertices, protocol):
        leaf = vertices.clone().requires_grad_()
        solver = MatrixFormalism(modes=n, exact_gradient=exact)
        weighted_signal(mesh.with_vertices(leaf), TISSUE, protocol, solver).backward()
        return leaf.grad

    turned = Acquisition(
        PROTOCOL.gradients @ Q.T, PROTOCOL.small_delta, PROTOCOL.big_delta, PROTOCOL.echo_time
    )
    here = gradient(mesh.vertices, PROTOCOL)
    there = gradient(mesh.vertices @ Q.T + torch.tensor([3.0, -7.0, 1.0]), turned)
    # measured 1e-9 with the out-of-span part, which an iterative solver gives
    torch.testing.assert_close(there, here @ Q.T, rtol=0, atol=1e-7 * float(here.abs().max()))


def test_moving_the_whole_shape_changes_nothing():
    mesh = SHAPES["beaded"]
    leaf = mesh.vertices.clone().requires_grad_()
    solver = MatrixFormalism(modes=gap_count(mesh, PROTOCOL, 30), exact_gradient=True)
    weighted_signal(mesh.with_vertices(leaf), TISSUE, PROTOCOL, solver).backward()
    assert float(leaf.grad.sum(0).abs().max()) < 1e-8 * float(leaf.grad.abs().sum())


def test_jacobian_along_displacements_is_that_of_the_fixed_basis():
    mesh = SHAPES["bent"]
    u = torch.stack(list(displacements(mesh.vertices).values()))
    q, delta, separation = PROTOCOL.wave_vectors, PROTOCOL.small_delta, PROTOCOL.big_delta
    with coarse_on_purpose():
        basis = MatrixFormalism(modes=40).basis(mesh, TISSUE, PROTOCOL)
    tangents = reduced_tangents(mesh.vertices, Coefficients.uniform(TISSUE.diffusion_tensor), basis, u)
    jacobian = PgseSolution.of(basis.model, q, delta, separation).jacobian(tangents)
    leaf = mesh.vertices.clone().requires_grad_()
    weighted_signal(mesh.with_vertices(leaf), TISSUE, PROTOCOL, MatrixFormalism(modes=40)).backward()
    expected = (leaf.grad * u).sum((1, 2))
    # the Jacobian takes a splitting of lower order: about 1e-4
    torch.testing.assert_close(weights(len(q)) @ jacobian, expected, rtol=1e-3, atol=0)


def test_second_derivatives_are_refused():
    mesh = SHAPES["bent"]
    leaf = mesh.vertices.clone().requires_grad_()
    value = weighted_signal(mesh.with_vertices(leaf), TISSUE, PROTOCOL, MatrixFormalism(modes=10)).square()
    (first,) = torch.autograd.grad(value, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()

from pathlib import Path

import numpy as np
import pytest
import skfem
import torch
from scipy.sparse import coo_array
from scipy.spatial import cKDTree
from skfem.helpers import dot, grad

from torrey.fem.assembly import PairValues, assemble, assemble_adjoint
from torrey.fem.geometry import Coefficients, element_geometry
from torrey.fem.reference import reference_element
from torrey.fem.space import FunctionSpace
from torrey.mesh import TetMesh, sphere

TESTS = Path(__file__).parents[1]
TENSOR = torch.tensor([[2.0, 0.3, -0.2], [0.3, 1.1, 0.4], [-0.2, 0.4, 0.7]], dtype=torch.float64)
ELEMENTS = {1: skfem.ElementTetP1, 2: skfem.ElementTetP2}


@pytest.fixture(scope="module")
def skewed():
    """A ball without any symmetry: sheared, shifted, and rough."""
    ball = sphere(2.0, resolution=2)
    noise = torch.randn(ball.vertices.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    shear = torch.tensor([[1.0, 0.2, 0.0], [0.0, 1.3, -0.4], [0.1, 0.0, 0.8]], dtype=torch.float64)
    return ball.with_vertices(ball.vertices @ shear.T + 0.05 * noise + torch.tensor([1.0, -2.0, 3.0]))


def _scikit_fem(mesh, order):
    """Return node positions and M, S, J of another program."""
    D = TENSOR.numpy()
    # order 6: scikit-fem's tetrahedral rule of order 5 misses x⁵ by 0.7 %
    basis = skfem.Basis(
        skfem.MeshTet(mesh.vertices.numpy().T, mesh.tets.numpy().T), ELEMENTS[order](), intorder=6
    )
    mass = skfem.BilinearForm(lambda u, v, w: u * v)
    stiffness = skfem.BilinearForm(lambda u, v, w: dot(np.einsum("ab,b...->a...", D, grad(u)), grad(v)))
    moments = [skfem.BilinearForm(lambda u, v, w, axis=axis: w.x[axis] * u * v) for axis in range(3)]
    return basis.doflocs.T, [form.assemble(basis).toarray() for form in (mass, stiffness, *moments)]


def _dense(space, values):
    return [space.matrix(v).toarray() for v in (values.mass, values.stiffness, *values.moments)]


@pytest.mark.parametrize("order", [1, 2])
def test_matrices_are_those_of_scikit_fem(skewed, order):
    space = FunctionSpace.on(skewed.tets, skewed.n_vertices, order=order)
    ours = _dense(
        space, assemble(space, element_geometry(skewed.vertices, space, Coefficients.uniform(TENSOR)))
    )
    places, theirs = _scikit_fem(skewed, order)
    distance, match = cKDTree(places).query(space.node_positions(skewed.vertices).numpy())
    assert distance.max() < 1e-12
    assert len(np.unique(match)) == space.n_nodes == len(places)
    for A, B in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(A, B[np.ix_(match, match)], rtol=0, atol=1e-12 * np.abs(B).max())


def test_matrices_are_those_of_spindoctor():
    meshes = np.load(TESTS / "mesh" / "data" / "spindoctor_meshes.npz")
    reference = np.load(TESTS / "data" / "spindoctor_signals.npz")
    mesh = TetMesh(meshes["bent_twisted"], meshes["cylinder_tets"])
    space = FunctionSpace.on(mesh.tets, mesh.n_vertices)
    D = 2 * torch.eye(3, dtype=torch.float64)
    ours = _dense(space, assemble(space, element_geometry(mesh.vertices, space, Coefficients.uniform(D))))
    i, j = reference["pairs"].astype(int).T
    for name, A in zip(("M", "S", "Jx", "Jy", "Jz"), ours, strict=True):
        values = reference[f"matrix_{name}"]
        B = coo_array((values, (i, j)), shape=A.shape).toarray()
        B += np.triu(B, 1).T
        np.testing.assert_allclose(A, B, rtol=0, atol=1e-12 * np.abs(B).max())


@pytest.mark.parametrize("order", [1, 2])
def test_constants_and_linears_are_integrated_exactly(skewed, order):
    # Σφ = 1 and Σx φ = x hold for both orders, so these are integrals of polynomials over the polyhedron.
    space = FunctionSpace.on(skewed.tets, skewed.n_vertices, order=order)
    M, S, *J = _dense(
        space, assemble(space, element_geometry(skewed.vertices, space, Coefficients.uniform(TENSOR)))
    )
    x, one = space.node_positions(skewed.vertices).numpy(), np.ones(space.n_nodes)
    volume = float(skewed.volume)
    assert one @ M @ one == pytest.approx(volume, rel=1e-13)
    assert np.abs(S @ one).max() < 1e-12 * np.abs(S).max()
    np.testing.assert_allclose(x.T @ S @ x, volume * TENSOR.numpy(), atol=1e-12 * volume)
    for axis in range(3):
        np.testing.assert_allclose(J[axis] @ one, M @ x[:, axis], atol=1e-12 * np.abs(J[axis]).max())


def test_one_tet_by_hand():
    # The P1 mass matrix v/20 (1 + δᵢⱼ) of any finite-element textbook.
    table = reference_element(1)
    np.testing.assert_allclose(table.mass, np.where(table.pairs[:, 0] == table.pairs[:, 1], 0.1, 0.05))
    # P2: ∫φ² is v/70 at a corner and 8v/105 = 32v/420 on an edge.
    table = reference_element(2)
    diagonal = table.mass[table.pairs[:, 0] == table.pairs[:, 1]]
    np.testing.assert_allclose(diagonal, [1 / 70] * 4 + [8 / 105] * 6)


@pytest.mark.parametrize("order", [1, 2])
def test_adjoint_is_the_transpose(skewed, order):
    space = FunctionSpace.on(skewed.tets, skewed.n_vertices, order=order)
    generator = torch.Generator().manual_seed(0)

    def random_like(values):
        return [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in values]

    geometry = element_geometry(skewed.vertices, space, Coefficients.uniform(TENSOR))
    tangent = type(geometry)(*random_like(geometry))
    image = assemble(space, tangent)
    cotangent = PairValues(*random_like(image))
    forward = sum(float((a * b).sum()) for a, b in zip(cotangent, image, strict=True))
    back = sum(float((a * b).sum()) for a, b in zip(assemble_adjoint(space, cotangent), tangent, strict=True))
    assert back == pytest.approx(forward, rel=1e-12)


def test_batches_of_tangents_are_assembled_one_by_one(skewed):
    space = FunctionSpace.on(skewed.tets, skewed.n_vertices)
    geometry = element_geometry(skewed.vertices, space, Coefficients.uniform(TENSOR))
    batch = type(geometry)(*(torch.stack([g, -2 * g]) for g in geometry))
    single, both = assemble(space, geometry), assemble(space, batch)
    for one, two in zip(single, both, strict=True):
        torch.testing.assert_close(two, torch.stack([one, -2 * one]), rtol=1e-13, atol=1e-13)


def test_element_geometry_passes_gradcheck():
    vertices = torch.tensor(
        [[0, 0, 0], [1, 0.1, 0], [0.2, 1.1, 0], [0.1, 0.3, 0.9], [1.0, 1.0, 1.2]]
    ).double()
    space = FunctionSpace.on(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), 5)
    assert torch.autograd.gradcheck(
        lambda x, D: tuple(element_geometry(x, space, Coefficients.uniform(D))),
        (vertices.requires_grad_(), TENSOR.clone().requires_grad_()),
    )

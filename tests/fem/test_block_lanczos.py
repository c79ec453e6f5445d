import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from scipy.sparse import block_diag, csc_array

from torrey.errors import ConvergenceError
from torrey.fem import block_lanczos as module
from torrey.fem.assembly import assemble
from torrey.fem.block_lanczos import BlockLanczos
from torrey.fem.factorise import factorise
from torrey.fem.geometry import Coefficients, element_geometry
from torrey.fem.space import FunctionSpace
from torrey.mesh import Bend, box, cylinder, deform, sphere

D = 2.0
SHIFT = -0.1


def matrices(mesh, order=1):
    space = FunctionSpace.on(mesh.tets, mesh.n_vertices, order=order)
    values = assemble(
        space,
        element_geometry(mesh.vertices, space, Coefficients.uniform(D * torch.eye(3, dtype=torch.float64))),
    )
    return space.matrix(values.stiffness), space.matrix(values.mass)


def lowest(S, M, count, shift=SHIFT):
    return BlockLanczos(M, factorise(csc_array(S - shift * M)), shift=shift).lowest(count)


MESHES = {
    "bent tube": lambda: matrices(deform(cylinder(2.0, 12.0, n_rings=2, n_layers=14), Bend(0.03))),
    "tube, P2": lambda: matrices(cylinder(2.0, 12.0, n_rings=1, n_layers=12), 2),
    "cube": lambda: matrices(box((4.0, 4.0, 4.0), (7, 7, 7))),  # doublets and triplets
    "ball": lambda: matrices(sphere(3.0, resolution=5)),
}


@pytest.mark.parametrize("count", [1, 12, 70])
@pytest.mark.parametrize("name", MESHES)
def test_pairs_are_those_of_a_dense_solve(name, count):
    S, M = MESHES[name]()
    values, vectors = lowest(S, M, count)
    dense, theirs = eigh(S.toarray(), M.toarray())
    # both solvers round at 1e-16 of the largest eigenvalue of their operator
    np.testing.assert_allclose(values, dense[:count], rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(vectors.T @ (M @ vectors), np.eye(count), atol=1e-12)
    # the tolerance on S⁻¹ is magnified by λ/|σ|, about 100 here
    residual = S @ vectors - (M @ vectors) * values
    bound = 100 * module.TOLERANCE * max(1.0, values[-1])
    assert np.linalg.norm(residual) < bound * np.linalg.norm(M @ vectors)
    inside = theirs[:, dense < dense[count] * (1 - 1e-6)] if count > 1 else theirs[:, :1]
    lost = inside - vectors @ (vectors.T @ (M @ inside))
    assert np.sqrt(np.abs(np.sum(lost * (M @ lost), axis=0)).max()) < 1e-8


def test_modes_of_a_box_are_products_of_cosines():
    lengths = (3.0, 4.1, 5.3)
    S, M = matrices(box(lengths, (9, 11, 13)), order=1)
    values, _ = lowest(S, M, 12)
    rates = [
        D * math.pi**2 * sum((n / length) ** 2 for n, length in zip(index, lengths, strict=True))
        for index in itertools.product(range(6), repeat=3)
    ]
    exact = np.sort(rates)[:12]
    # linear elements: (kh)²/12 or so too high, and kh < 1 for these modes
    assert (values[1:] > exact[1:]).all()
    np.testing.assert_allclose(values[1:], exact[1:], rtol=0.1)
    assert abs(values[0]) < 1e-12


@pytest.mark.parametrize("copies", [3, 9])
def test_equal_cells_apart_have_every_mode_as_often_as_there_are_cells(copies):
    # nine copies are more than one block sees
    S, M = matrices(box((3.0, 4.1, 5.3), (3, 4, 5)))
    one = eigh(S.toarray(), M.toarray(), eigvals_only=True)
    many = [csc_array(block_diag([A] * copies)) for A in (S, M)]
    values, vectors = lowest(*many, 4 * copies)
    np.testing.assert_allclose(values, np.repeat(one[:4], copies), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(vectors.T @ (many[1] @ vectors), np.eye(4 * copies), atol=1e-11)


def test_a_third_of_all_modes():
    S, M = matrices(box((3.0, 4.1, 5.3), (4, 5, 6)))
    count = M.shape[0] // 3
    values, _ = lowest(S, M, count)
    dense = eigh(S.toarray(), M.toarray(), eigvals_only=True)
    np.testing.assert_allclose(values, dense[:count], rtol=1e-10, atol=1e-11)


def test_asking_for_more_continues():
    S, M = MESHES["cube"]()
    dense = eigh(S.toarray(), M.toarray(), eigvals_only=True)
    factor, solved = factorise(csc_array(S - SHIFT * M)), []

    def solve(right):
        solved.append(right.shape[1])
        return factor(right)

    lanczos = BlockLanczos(M, solve, shift=SHIFT)
    for count in (10, 40, 25, 120):
        before = sum(solved)
        values, vectors = lanczos.lowest(count)
        np.testing.assert_allclose(values, dense[:count], rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(vectors.T @ (M @ vectors), np.eye(count), atol=1e-12)
        residual = S @ vectors - (M @ vectors) * values
        bound = 100 * module.TOLERANCE * max(1.0, values[-1])
        assert np.linalg.norm(residual) < bound * np.linalg.norm(M @ vectors)
        if count == 25:  # they were found on the way to 40
            assert sum(solved) == before
        # a lower bound, and one that has seen more than was asked for
        limit = dense[min(2 * count, len(dense) - 1)]
        assert count <= lanczos.at_least_below(limit) <= (dense < limit * (1 + 1e-9)).sum()
    continued = sum(solved)
    solved.clear()
    BlockLanczos(M, solve, shift=SHIFT).lowest(120)
    # the same space but for where its convergence was looked at
    assert continued < 1.2 * sum(solved)


@pytest.mark.parametrize("shift", [-1e-3, -0.1, -10.0])
def test_the_shift_does_not_matter(shift):
    S, M = MESHES["bent tube"]()
    dense = eigh(S.toarray(), M.toarray(), eigvals_only=True, subset_by_index=(0, 29))
    # rounding of θ is magnified by λ/|σ|, here 10⁴
    np.testing.assert_allclose(lowest(S, M, 30, shift)[0], dense, rtol=1e-10, atol=1e-11)


def test_runs_repeat_to_the_bit():
    S, M = MESHES["ball"]()
    runs = [lowest(S, M, 30) for _ in range(3)]
    assert all(np.array_equal(run[0], runs[0][0]) and np.array_equal(run[1], runs[0][1]) for run in runs)


def test_too_small_a_basis_is_an_error_that_gives_its_size(monkeypatch):
    S, M = MESHES["ball"]()
    monkeypatch.setattr(module, "_MOST", -5)
    with pytest.raises(ConvergenceError, match=r"block Lanczos with \d+ vectors did not bring 20 modes"):
        lowest(S, M, 20)


def test_a_solve_that_is_not_finite_is_an_error():
    _, M = MESHES["ball"]()
    with pytest.raises(ConvergenceError, match="broke down"):
        BlockLanczos(M, lambda right: np.full_like(right, np.nan), shift=SHIFT).lowest(5)

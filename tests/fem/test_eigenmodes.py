import itertools
import math

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from scipy.sparse import csc_array

from torrey.errors import InputError
from torrey.fem import eigenmodes
from torrey.fem.assembly import assemble
from torrey.fem.eigenmodes import SPLIT_MULTIPLET, Spectrum, lowest_modes
from torrey.fem.factorise import factorise, library
from torrey.fem.geometry import Coefficients, element_geometry
from torrey.fem.space import FunctionSpace
from torrey.mesh import box, sphere

D = 2.0
LENGTHS = (3.0, 4.1, 5.3)


def matrices(mesh, order=1):
    space = FunctionSpace.on(mesh.tets, mesh.n_vertices, order=order)
    values = assemble(
        space,
        element_geometry(mesh.vertices, space, Coefficients.uniform(D * torch.eye(3, dtype=torch.float64))),
    )
    return space.matrix(values.stiffness), space.matrix(values.mass)


def box_rates(lengths, count):
    """Dπ² Σ(nᵢ/Lᵢ)²: cosines that are flat at the walls."""
    rates = [
        D * math.pi**2 * sum((n / length) ** 2 for n, length in zip(index, lengths, strict=True))
        for index in itertools.product(range(8), repeat=3)
    ]
    return np.sort(rates)[:count]


@pytest.fixture(scope="module")
def ball():
    return matrices(sphere(3.0, resolution=7))  # 1 415 nodes: the sparse path


def test_sparse_modes_are_those_of_a_dense_solve(ball):
    S, M = ball
    modes = lowest_modes(S, M, count=40)
    values, vectors = eigh(S.toarray(), M.toarray())
    n = modes.n_modes
    assert M.shape[0] > eigenmodes.DENSE_BELOW
    np.testing.assert_allclose(modes.values, values[: len(modes.values)], rtol=1e-9, atol=1e-9)
    # inside multiplets vectors may turn; the projector on the kept span may not
    ours, theirs = modes.vectors[:, :n], vectors[:, :n]
    assert np.linalg.norm(theirs - ours @ (ours.T @ (M @ theirs))) < 1e-8
    np.testing.assert_allclose(ours.T @ (M @ ours), np.eye(n), atol=1e-10)


def test_dense_and_sparse_path_agree(monkeypatch):
    S, M = matrices(box(LENGTHS, (5, 6, 7)))
    dense = lowest_modes(S, M, count=20)
    monkeypatch.setattr(eigenmodes, "DENSE_BELOW", 0)
    sparse = lowest_modes(S, M, count=20)
    assert sparse.n_modes == dense.n_modes
    np.testing.assert_allclose(sparse.values, dense.values[: len(sparse.values)], rtol=1e-9, atol=1e-9)
    overlap = dense.vectors[:, :20].T @ (M @ sparse.vectors[:, :20])
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(overlap)), 1, atol=1e-8)


@pytest.mark.parametrize(("order", "cells", "rate"), [(1, (6, 12), 2), (2, (4, 8), 4)])
def test_box_eigenvalues_converge_at_the_order_of_the_elements(order, cells, rate):
    count = 6
    exact = box_rates(LENGTHS, count)
    errors = []
    for n in cells:
        S, M = matrices(box(LENGTHS, (n, n, n)), order)
        errors.append(lowest_modes(S, M, count=count).values[1:count] / exact[1:] - 1)
    assert (errors[1] > 0).all()  # Galerkin eigenvalues lie above the true ones
    # 0.25: the next order still shows on these meshes
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), rate, atol=0.25)


def test_the_first_mode_is_constant(ball):
    S, M = ball
    modes = lowest_modes(S, M, count=5)
    assert modes.values[0] < 1e-9
    np.testing.assert_allclose(modes.vectors[:, 0] ** 2, 1 / M.sum(), rtol=1e-8)


@pytest.mark.parametrize("path", ["dense", "sparse"])
def test_the_cut_splits_no_multiplet(monkeypatch, path):
    # the Kuhn cube keeps the permutations of the axes, which make doublets
    S, M = matrices(box((4.0, 4.0, 4.0), (6, 6, 6)))
    if path == "sparse":
        monkeypatch.setattr(eigenmodes, "DENSE_BELOW", 0)
    values = eigh(S.toarray(), M.toarray(), eigvals_only=True)
    gaps = np.diff(values) > SPLIT_MULTIPLET * values[1:]
    assert (~gaps[:30]).sum() > 5
    for count in range(1, 30):
        expected = next(n for n in range(count, len(values)) if gaps[n - 1])
        assert lowest_modes(S, M, count=count).n_modes == expected


def test_below_keeps_every_mode_under_the_limit(ball):
    S, M = ball
    values = eigh(S.toarray(), M.toarray(), eigvals_only=True, subset_by_index=(0, 150))
    for below in (0.5, 4.0, 11.0):
        modes = lowest_modes(S, M, below=below)
        n = modes.n_modes
        least = int((values <= below).sum())
        assert n >= least
        assert modes.next_value > below
        # only what completes the last multiplet is added
        assert values[n - 1] <= max(below, values[least - 1]) * (1 + SPLIT_MULTIPLET) ** (n - least + 1)


def test_a_spectrum_goes_further_up_on_one_factorisation(ball, monkeypatch):
    S, M = ball
    values = eigh(S.toarray(), M.toarray(), eigvals_only=True, subset_by_index=(0, 250))
    factorised = []
    monkeypatch.setattr(eigenmodes, "factorise", lambda A: factorised.append(A) or factorise(A))
    # a diffusivity that is too large makes the first guess of the count too low; the space then knows better
    spectrum = Spectrum(S, M, diffusivity=8 * D, volume=float(M.sum()))
    for below in (2.0, 5.0, 3.0, 12.0):
        modes = spectrum.lowest(below=below)
        assert modes.n_modes >= (values <= below).sum()
        assert modes.next_value > below
        np.testing.assert_allclose(modes.values, values[: len(modes.values)], rtol=1e-9, atol=1e-9)
    assert len(factorised) == 1


def test_counts_beyond_the_space_give_the_complete_basis():
    S, M = matrices(box(LENGTHS, (2, 2, 2)))
    modes = lowest_modes(S, M, count=1000)
    assert modes.complete
    assert modes.n_modes == 27
    assert modes.next_value == math.inf
    assert lowest_modes(S, M, below=1e9).n_modes == 27


def test_runs_repeat_to_the_bit(ball):
    S, M = ball
    first, second = (lowest_modes(S, M, count=25) for _ in range(2))
    assert np.array_equal(first.values, second.values)
    assert np.array_equal(first.vectors, second.vectors)


def test_scaling_the_shape_scales_the_rates(ball):
    S, M = ball
    big = matrices(sphere(30.0, resolution=7))
    np.testing.assert_allclose(
        lowest_modes(*big, count=12).values[1:12], lowest_modes(S, M, count=12).values[1:12] / 100, rtol=1e-8
    )


@pytest.mark.parametrize(
    "choice",
    [{}, {"count": 3, "below": 1.0}, {"count": 0}, {"count": -2}],
    ids=["none", "both", "zero", "negative"],
)
def test_wrong_choices_are_refused(choice):
    S, M = matrices(box(LENGTHS, (2, 2, 2)))
    with pytest.raises(InputError, match="modes"):
        lowest_modes(S, M, **choice)


@pytest.mark.parametrize("resolution", [4, 9])  # 309 nodes by minimum degree, 2 869 by METIS
def test_factorise_solves(resolution):
    S, M = matrices(sphere(3.0, resolution=resolution))
    A = (S + 0.3 * M).tocsc()
    x = np.random.default_rng(0).standard_normal((A.shape[0], 3))
    solve = factorise(A)
    np.testing.assert_allclose(solve(A @ x), x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(solve(A @ x[:, 0]), x[:, 0], rtol=0, atol=1e-10)


def test_libraries_agree(monkeypatch):
    """CHOLMOD, where it is installed, against SuperLU; a complex matrix always goes to SuperLU."""
    pytest.importorskip("sksparse.cholmod", reason="scikit-sparse is not installed (torrey[cholmod])")
    S, M = matrices(sphere(3.0, resolution=9))
    right = np.random.default_rng(0).normal(size=(M.shape[0], 3))
    assert library() == "CHOLMOD"
    here, turned = factorise(csc_array(S + 0.1 * M))(right), factorise(csc_array(S + 0.1j * M))(right)
    monkeypatch.setattr("torrey.fem.factorise.library", lambda: "SuperLU")
    np.testing.assert_allclose(here, factorise(csc_array(S + 0.1 * M))(right), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(turned, factorise(csc_array(S + 0.1j * M))(right))

import numpy as np
import torch
from bent_prisms import TEMPLATE

from torrey.mesh.quality import edges
from torrey.shape.graph import graph_laplacian, graph_modes


def test_laplacian_counts_neighbours():
    L = graph_laplacian(TEMPLATE).toarray()
    pairs = edges(TEMPLATE.tets)
    assert np.array_equal(np.diag(L), np.bincount(pairs.ravel().numpy()))
    assert L.sum(1).max() == L.sum(1).min() == 0
    assert np.count_nonzero(np.triu(L, 1)) == len(pairs)


def test_modes_solve_the_eigenproblem_and_have_a_sign():
    values, vectors = graph_modes(TEMPLATE, 20)
    L = torch.from_numpy(graph_laplacian(TEMPLATE).toarray())
    assert torch.allclose(L @ vectors, vectors * values, atol=1e-12)
    assert torch.allclose(vectors.T @ vectors, torch.eye(20, dtype=torch.float64), atol=1e-12)
    assert abs(float(values[0])) < 1e-12 < float(values[1])
    assert bool((vectors.amax(0) >= -vectors.amin(0)).all())
    every = np.linalg.eigvalsh(L.numpy())
    assert np.allclose(values, every[:20], atol=1e-12)

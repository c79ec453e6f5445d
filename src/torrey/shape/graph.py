"""The graph of a mesh's edges: its Laplacian and the modes of that."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array, csc_array
from torch import Tensor

from ..errors import InputError
from ..mesh import TetMesh
from ..mesh.quality import edges


def graph_laplacian(mesh: TetMesh) -> csc_array:
    """Return degree minus adjacency of the edges of `mesh`, (V, V)."""
    start, end = edges(mesh.tets).cpu().numpy().T
    ends = np.concatenate([start, end]), np.concatenate([end, start])
    n = mesh.n_vertices
    adjacency = coo_array((np.ones(len(ends[0])), ends), shape=(n, n)).tocsc()
    degree = coo_array((adjacency.sum(1), (np.arange(n), np.arange(n))), shape=(n, n)).tocsc()
    return csc_array(degree - adjacency)


def graph_modes(mesh: TetMesh, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` lowest eigenvalues (K,) of the graph Laplacian and its eigenvectors (V, K).

    The vectors are orthonormal, and the largest component of each is positive. The first is constant. By a
    dense solver: for templates of up to a few thousand vertices.

    Raises
    ------
    InputError
        When there are not that many.
    """
    if not 1 <= count <= mesh.n_vertices:
        raise InputError(f"graph modes: count is {count}, expected 1 to {mesh.n_vertices}, that of vertices")
    values, vectors = torch.linalg.eigh(torch.from_numpy(graph_laplacian(mesh).toarray()))
    values, vectors = values[:count], vectors[:, :count]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    return values, vectors * largest.sign()

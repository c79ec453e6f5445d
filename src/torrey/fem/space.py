"""`FunctionSpace`: nodes of the finite elements and the sparsity pattern they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor

from .reference import EDGES, ReferenceElement, reference_element


@dataclass(frozen=True, eq=False)
class FunctionSpace:
    """Continuous piecewise polynomials of order 1 or 2 on tetrahedra.

    Every matrix of the space is symmetric with one pattern; it is stored as one value for each node
    pair i ≤ j.

    Attributes
    ----------
    element : ReferenceElement
        Tables of the element.
    tets : (T, 4) Tensor
        Vertex indices.
    n_nodes : int
        Degrees of freedom; the vertices come first, then (order 2) the mid-edge nodes.
    pairs : (Z, 2) Tensor
        Node pairs i ≤ j that share a tet.
    pair_of : (T, R) Tensor
        Which pair each local pair of each tet is.
    """

    element: ReferenceElement
    tets: Tensor
    n_nodes: int
    pairs: Tensor
    pair_of: Tensor
    _entry_pair: np.ndarray
    _indices: np.ndarray
    _indptr: np.ndarray

    @classmethod
    def on(cls, tets: Tensor, n_vertices: int, *, order: int = 1) -> FunctionSpace:
        """Build the space of `order` on `tets` (T, 4) over `n_vertices` vertices."""
        element = reference_element(order)
        corners = tets.cpu().numpy()
        nodes, n_nodes = (corners, n_vertices) if order == 1 else _second_order_nodes(corners, n_vertices)
        ends = nodes[:, element.pairs.numpy()]
        low, high = ends.min(2), ends.max(2)
        unique, pair_of = np.unique(low * n_nodes + high, return_inverse=True)
        i, j = np.divmod(unique, n_nodes)
        off = i != j
        rows, columns = np.r_[i, j[off]], np.r_[j, i[off]]
        entry = np.r_[np.arange(len(unique)), np.flatnonzero(off)]
        order_csc = np.lexsort((rows, columns))
        indptr = np.r_[0, np.cumsum(np.bincount(columns, minlength=n_nodes))]
        device = tets.device
        return cls(
            element,
            tets,
            n_nodes,
            torch.as_tensor(np.stack([i, j], 1), device=device),
            torch.as_tensor(pair_of.reshape(low.shape), device=device),
            entry[order_csc],
            rows[order_csc].astype(np.int32),
            indptr.astype(np.int32),
        )

    def matrix(self, values: Tensor) -> csc_array:
        """Return the sparse symmetric matrix with pair `values` (Z,)."""
        data = values.detach().cpu().numpy()[self._entry_pair]
        return csc_array((data, self._indices, self._indptr), shape=(self.n_nodes, self.n_nodes))

    def row(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the nodes (k,) that share a tet with `node`, itself too, and the pairs (k,) they make."""
        entries = slice(self._indptr[node], self._indptr[node + 1])
        return self._indices[entries], self._entry_pair[entries]

    def node_positions(self, vertices: Tensor) -> Tensor:
        """Return the positions (n_nodes, 3) of the nodes for `vertices` (V, 3), µm."""
        if self.element.order == 1:
            return vertices
        n_vertices = len(vertices)
        first = torch.zeros(self.n_nodes - n_vertices, dtype=torch.long, device=vertices.device)
        second = first.clone()
        # a corner–midpoint pair of a P2 tet does not name the edge, so read it off the local numbering
        nodes = self._local_nodes()
        for local, (a, b) in enumerate(EDGES):
            first[nodes[:, 4 + local] - n_vertices] = self.tets[:, a]
            second[nodes[:, 4 + local] - n_vertices] = self.tets[:, b]
        return torch.cat([vertices, (vertices[first] + vertices[second]) / 2])

    def _local_nodes(self) -> Tensor:
        diagonal = (self.element.pairs[:, 0] == self.element.pairs[:, 1]).nonzero().ravel()
        return self.pairs[self.pair_of[:, diagonal.to(self.pairs.device)], 0]


def _second_order_nodes(corners: np.ndarray, n_vertices: int) -> tuple[np.ndarray, int]:
    edges = corners[:, np.array(EDGES)]
    key = edges.min(2).astype(np.int64) * n_vertices + edges.max(2)
    unique, index = np.unique(key, return_inverse=True)
    return np.concatenate([corners, n_vertices + index.reshape(key.shape)], axis=1), n_vertices + len(unique)

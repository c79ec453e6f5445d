"""`FunctionSpace`: nodes of the finite elements and the sparsity pattern they share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor

from .reference import EDGES, FACET_EDGES, ReferenceElement, facet_mass, reference_element


@dataclass(frozen=True, eq=False)
class FunctionSpace:
    """Piecewise polynomials of order 1 or 2 on tetrahedra, continuous but at interfaces.

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
    interfaces : (F, 2, 3) Tensor
        Triangles that two compartments exchange through, as each side names them.
    walls : (B, 3) Tensor
        Triangles that take magnetisation up.
    interface_pair_of, wall_pair_of : (F, ·) and (B, ·) Tensor
        Which pair each local pair of `FacetTable.interface` and `.wall` is.
    """

    element: ReferenceElement
    tets: Tensor
    n_nodes: int
    pairs: Tensor
    pair_of: Tensor
    interfaces: Tensor
    walls: Tensor
    interface_pair_of: Tensor
    wall_pair_of: Tensor
    _entry_pair: np.ndarray
    _indices: np.ndarray
    _indptr: np.ndarray

    @classmethod
    def on(
        cls,
        tets: Tensor,
        n_vertices: int,
        *,
        order: int = 1,
        interfaces: Tensor | None = None,
        walls: Tensor | None = None,
    ) -> FunctionSpace:
        """Build the space of `order` on `tets` (T, 4) over `n_vertices` vertices, and its facets."""
        element = reference_element(order)
        interfaces = tets.new_zeros(0, 2, 3) if interfaces is None else interfaces
        walls = tets.new_zeros(0, 3) if walls is None else walls
        numbering = _Numbering.of(tets.cpu().numpy(), n_vertices, order)
        n_nodes = numbering.n_nodes
        facets = interface_table(order), wall_table(order)
        both_sides = numbering.of_triangles(interfaces.reshape(-1, 3).cpu().numpy())
        keys = [
            _pair_keys(nodes, pairs, n_nodes)
            for nodes, pairs in (
                (numbering.of_tets, element.pairs),
                (both_sides.reshape(len(interfaces), 2 * both_sides.shape[1]), facets[0].pairs),
                (numbering.of_triangles(walls.cpu().numpy()), facets[1].pairs),
            )
        ]
        unique, flat = np.unique(np.concatenate([k.ravel() for k in keys]), return_inverse=True)
        splits = np.cumsum([k.size for k in keys])[:-1]
        pair_of = [part.reshape(k.shape) for part, k in zip(np.split(flat, splits), keys, strict=True)]
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
            torch.as_tensor(pair_of[0], device=device),
            interfaces,
            walls,
            torch.as_tensor(pair_of[1], device=device),
            torch.as_tensor(pair_of[2], device=device),
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
        nodes = self.tet_nodes
        for local, (a, b) in enumerate(EDGES):
            first[nodes[:, 4 + local] - n_vertices] = self.tets[:, a]
            second[nodes[:, 4 + local] - n_vertices] = self.tets[:, b]
        return torch.cat([vertices, (vertices[first] + vertices[second]) / 2])

    @property
    def tet_nodes(self) -> Tensor:
        """The nodes (T, L) of each tet, in the order of the element."""
        diagonal = (self.element.pairs[:, 0] == self.element.pairs[:, 1]).nonzero().ravel()
        return self.pairs[self.pair_of[:, diagonal.to(self.pairs.device)], 0]


class FacetTable(NamedTuple):
    """Local pairs i ≤ j (R, 2) of the nodes of a facet, and what each adds to a matrix over its area (R,)."""

    pairs: Tensor
    values: Tensor


@cache
def wall_table(order: int) -> FacetTable:
    """Return the table of ∫φᵢφⱼ over a triangle of the outer boundary."""
    pairs = torch.tensor(list(combinations_with_replacement(range(len(facet_mass(order))), 2)))
    return FacetTable(pairs, facet_mass(order)[pairs[:, 0], pairs[:, 1]])


@cache
def interface_table(order: int) -> FacetTable:
    """Return the table of ∫[φᵢ][φⱼ] over an interface, [φ] the jump across it; nodes side by side."""
    n = len(facet_mass(order))
    pairs = torch.tensor(list(combinations_with_replacement(range(2 * n), 2)))
    i, j = pairs.unbind(1)
    sign = torch.where((i < n) == (j < n), 1.0, -1.0).double()
    return FacetTable(pairs, sign * facet_mass(order)[i % n, j % n])


class _Numbering(NamedTuple):
    """Nodes of tets (T, L), and what names those of triangles."""

    of_tets: np.ndarray
    n_nodes: int
    n_vertices: int
    edge_keys: np.ndarray

    @classmethod
    def of(cls, corners: np.ndarray, n_vertices: int, order: int) -> _Numbering:
        if order == 1:
            return cls(corners, n_vertices, n_vertices, np.empty(0, dtype=np.int64))
        key = _edge_keys(corners, EDGES, n_vertices)
        unique, index = np.unique(key, return_inverse=True)
        nodes = np.concatenate([corners, n_vertices + index.reshape(key.shape)], axis=1)
        return cls(nodes, n_vertices + len(unique), n_vertices, unique)

    def of_triangles(self, triangles: np.ndarray) -> np.ndarray:
        """Return the nodes (F, 3 or 6) of `triangles` (F, 3), faces of tets."""
        if len(self.edge_keys) == 0:
            return triangles
        middle = np.searchsorted(self.edge_keys, _edge_keys(triangles, FACET_EDGES, self.n_vertices))
        return np.concatenate([triangles, self.n_vertices + middle], axis=1)


def _edge_keys(corners: np.ndarray, edges: tuple[tuple[int, int], ...], n_vertices: int) -> np.ndarray:
    ends = corners[:, np.array(edges)]
    keys: np.ndarray = ends.min(2).astype(np.int64) * n_vertices + ends.max(2)
    return keys


def _pair_keys(nodes: np.ndarray, pairs: Tensor, n_nodes: int) -> np.ndarray:
    """Return one number for each local pair (F, R) of `nodes` (F, L)."""
    ends = nodes[:, pairs.numpy()]
    keys: np.ndarray = ends.min(2) * n_nodes + ends.max(2)
    return keys

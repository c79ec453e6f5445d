"""Orient tetrahedra alike by their shared faces, so that a negative volume means a fold and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

TET_FACES = ((1, 2, 3), (0, 3, 2), (0, 1, 3), (0, 2, 1))
"""Faces of a tet, opposite corners 0, 1, 2, 3, oriented outwards for a tet of positive volume."""


def consistent_orientation(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return `tets` (T, 4) with corners swapped so that face neighbours agree in orientation.

    Two tets agree when they run through their shared face in opposite senses. That is a property of the
    connectivity, so it tells a file with mixed corner order (mended here) from a mesh folded over itself (left
    negative, for `validate` to report). Each face-connected part is then turned to positive total volume.
    """
    from .tetmesh import tet_volumes

    volumes = tet_volumes(vertices, tets)
    if bool((volumes > 0).all()):
        return tets
    flip = _flips(tets.cpu().numpy(), volumes.cpu().numpy())
    oriented = tets.clone()
    mask = torch.as_tensor(flip, device=tets.device)
    oriented[mask] = oriented[mask][:, [1, 0, 2, 3]]
    return oriented


def face_pairs(tets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `(first, second, agree)`, one row a face shared by two tets of `tets` (T, 4).

    `first` and `second` (P,) are tet indices; `agree` (P,) is true where the two run through the face in opposite
    senses. A face shared by more than two tets is left out (it is reported by `validate`).
    """
    faces = tets[:, np.array(TET_FACES)].reshape(-1, 3)
    owner = np.repeat(np.arange(len(tets)), 4)
    order = np.argsort(faces, axis=1)
    key = np.take_along_axis(faces, order, axis=1)
    even = np.isin(order @ np.array([9, 3, 1]), [0 * 9 + 1 * 3 + 2, 1 * 9 + 2 * 3 + 0, 2 * 9 + 0 * 3 + 1])
    rank = np.lexsort(key.T[::-1])
    key, owner, even = key[rank], owner[rank], even[rank]
    same = (key[1:] == key[:-1]).all(1)
    in_run_of_two = same & ~np.r_[False, same[:-1]] & ~np.r_[same[1:], False]
    i = np.flatnonzero(in_run_of_two)
    return owner[i], owner[i + 1], even[i] != even[i + 1]


def _flips(tets: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    first, second, agree = face_pairs(tets)
    n = len(tets)
    # 2 marks "agree", 1 "disagree": a stored zero would be dropped from the graph
    graph = coo_array((agree.astype(np.int8) + 1, (first, second)), shape=(n, n)).tocsr()
    graph = graph + graph.T
    n_parts, part = connected_components(graph, directed=False)
    flip = np.zeros(n, dtype=bool)
    for root in np.unique(part, return_index=True)[1]:
        order, parent = breadth_first_order(graph, root, directed=False)
        edge = graph[order[1:], parent[order[1:]]]
        disagree = np.asarray(edge).ravel() == 1
        for tet, up, differs in zip(order[1:], parent[order[1:]], disagree, strict=True):
            flip[tet] = flip[up] ^ differs
    signed = np.where(flip, -volumes, volumes)
    total = np.bincount(part, weights=signed, minlength=n_parts)
    return flip ^ (total < 0)[part]

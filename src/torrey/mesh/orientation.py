"""Orient tetrahedra alike by their shared faces, so that a negative volume means a fold and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

from .faces import same_rows, tet_faces
from .volumes import tet_volumes


def consistent_orientation(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return `tets` (T, 4) with corners swapped so that face neighbours agree in orientation.

    Two tets agree when they run through their shared face in opposite senses. That is a property of the
    connectivity, so it tells a file with mixed corner order (mended here) from a mesh folded over itself
    (left negative, for `validate` to report). Each face-connected part is then turned to positive total
    volume.
    """
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

    `first` and `second` (P,) are tet indices; `agree` (P,) is true where the two run through the face in
    opposite senses. A face shared by more than two tets is left out (it is reported by `validate`).
    """
    faces = tet_faces(torch.as_tensor(tets))
    key = same_rows(faces)[0].numpy()
    a, b, c = faces.numpy().T
    even = (
        (a < b).astype(np.int8) + (b < c) + (c < a)
    ) == 2  # of the three cyclic comparisons two hold when even
    rank = np.argsort(key, kind="stable")
    key, owner, even = key[rank], rank // 4, even[rank]
    same = key[1:] == key[:-1]
    in_run_of_two = same & ~np.r_[False, same[:-1]] & ~np.r_[same[1:], False]
    i = np.flatnonzero(in_run_of_two)
    return owner[i], owner[i + 1], even[i] != even[i + 1]


def turns(first: np.ndarray, second: np.ndarray, agree: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of n neighbours (n,) to turn so that all pairs agree, and the part (n,) each belongs to.

    `agree` (P,) says whether `first` and `second` (P,) are oriented alike. The first of each part stays. A
    pair that no choice satisfies, as on a Möbius strip, is left.
    """
    # 2 marks "agree", 1 "disagree": a stored zero would be dropped from the graph
    graph: Any = coo_array((agree.astype(np.int8) + 1, (first, second)), shape=(n, n)).tocsr()
    graph = graph + graph.T
    part = connected_components(graph, directed=False)[1]
    flip = np.zeros(n, dtype=bool)
    roots, sizes = np.unique(part, return_index=True, return_counts=True)[1:]
    for root in roots[sizes > 1]:
        order, parent = breadth_first_order(graph, root, directed=False)
        edge = graph[order[1:], parent[order[1:]]]
        disagree = np.asarray(edge).ravel() == 1
        for item, up, differs in zip(order[1:], parent[order[1:]], disagree, strict=True):
            flip[item] = flip[up] ^ differs
    return flip, part


def _flips(tets: np.ndarray, volumes: np.ndarray) -> np.ndarray:
    flip, part = turns(*face_pairs(tets), len(tets))
    signed = np.where(flip, -volumes, volumes)
    total = np.bincount(part, weights=signed)
    backwards: np.ndarray = total < 0
    turned: np.ndarray = flip ^ backwards[part]
    return turned

"""Find compartments that touch along different triangles, or overlap."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from ..errors import MeshError

_ON_FACE = 1e-4
"""Barycentric coordinate below which a point is outside a tet: above the rounding of a file with six digits,
below any gap that is meant."""

_BLOCK = 50_000
"""Tets searched at once; bounds the memory of the list of pairs."""


def require_apart(
    vertices: Tensor, tets: Tensor, compartments: Tensor, walls: Tensor, of_tet: Tensor
) -> None:
    """Raise where the middle of a wall of one compartment lies on or in a tet of another.

    A wall is a face of one tet that no face of another compartment matches. Where two compartments share a
    plane but not its triangles, the middles of the smaller ones lie on faces of the others; on a curved wall
    the two sides lie partly in each other.

    Parameters
    ----------
    vertices : (V, 3) Tensor
        µm.
    tets : (T, 4) Tensor
    compartments : (T,) Tensor
    walls : (B, 3) Tensor
        Triangles.
    of_tet : (B,) Tensor
        The tet of each.

    Raises
    ------
    MeshError
        With the number of such walls and the first.
    """
    x, cells, owners = vertices.cpu().double().numpy(), tets.cpu().numpy(), compartments.cpu().numpy()
    middles, own = x[walls.cpu().numpy()].mean(1), owners[of_tet.cpu().numpy()]
    outer = np.unique(of_tet.cpu().numpy())
    tree = cKDTree(middles)
    found = [_inside(tree, own, x[cells[some]], owners[some]) for some in _blocks(outer)]
    wall, tet = np.concatenate([np.empty((2, 0), dtype=np.int64), *found], axis=1)
    if len(wall):
        first = wall.argmin()
        pair = sorted((int(own[wall[first]]), int(tet[first])))
        where = " ".join(f"{value:.4g}" for value in middles[wall[first]])
        raise MeshError(
            f"mesh: {len(np.unique(wall))} face(s) of a compartment lie on or in another without being its "
            f"faces (first: compartments {pair[0]} and {pair[1]} at {where} µm); expected the same triangles "
            "on both sides of an interface"
        )


def _blocks(items: np.ndarray) -> list[np.ndarray]:
    return [items[i : i + _BLOCK] for i in range(0, len(items), _BLOCK)]


def _inside(tree: cKDTree, own: np.ndarray, corners: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return (2, k) points of `tree`, of compartments `own`, in tets (n, 4, 3) of others, and their owner."""
    centre = corners.mean(1)
    reach = np.linalg.norm(corners - centre[:, None], axis=2).max(1)
    lists = tree.query_ball_point(centre, reach, return_sorted=False)
    tet = np.repeat(np.arange(len(corners)), [len(found) for found in lists])
    point = np.fromiter((p for found in lists for p in found), dtype=np.int64, count=len(tet))
    other = own[point] != owners[tet]
    tet, point = tet[other], point[other]
    edges = corners[tet, 1:] - corners[tet, :1]
    solid = np.linalg.det(edges) != 0
    tet, point, edges = tet[solid], point[solid], edges[solid]
    away = tree.data[point] - corners[tet, 0]
    weights = np.linalg.solve(edges.transpose(0, 2, 1), away[..., None])[..., 0]
    lowest = np.minimum(weights.min(axis=1), 1 - weights.sum(1))
    inside = lowest > -_ON_FACE
    return np.stack([point[inside], owners[tet[inside]]])

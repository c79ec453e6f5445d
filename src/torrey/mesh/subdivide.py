"""Regular subdivision of a coarse tetrahedral complex."""

from __future__ import annotations

from itertools import permutations

import numpy as np


def subdivide(tets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut every one of `tets` (T, 4) in n³, alike on shared faces.

    Freudenthal's subdivision: the simplex n ≥ x₁ ≥ x₂ ≥ x₃ ≥ 0 is a union of the Kuhn tets of the unit
    lattice.

    Returns
    -------
    weights : (P, V) int64 array
        Barycentric weights of each new vertex in the V vertices of the complex; rows sum to n.
    fine : (T·n³, 4) int64 array
        Indices into `weights`, with the corner order of a positively oriented coarse tet kept positive.
    """
    lattice, small = _simplex(n)
    n_vertices = int(tets.max()) + 1
    weights = np.zeros((len(tets), len(lattice), n_vertices), dtype=np.int64)
    for corner in range(4):
        weights[np.arange(len(tets))[:, None], np.arange(len(lattice)), tets[:, corner, None]] = lattice[
            :, corner
        ]
    unique, index = np.unique(weights.reshape(-1, n_vertices), axis=0, return_inverse=True)
    fine = index.reshape(len(tets), len(lattice))[:, small]
    return unique, fine.reshape(-1, 4)


def _simplex(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return barycentric lattice points (P, 4), rows summing to n, and the tets (n³, 4) between them."""
    x = np.array([(i, j, k) for i in range(n + 1) for j in range(i + 1) for k in range(j + 1)])
    number = np.full((n + 2,) * 3, -1)
    number[tuple(x.T)] = np.arange(len(x))
    parts = []
    for order in permutations(range(3)):
        corners = np.zeros((4, 3), dtype=np.int64)
        for step, axis in enumerate(order):
            corners[step + 1 :, axis] += 1
        # the standard simplex x₁ ≥ x₂ ≥ x₃ has the corners of the order (0, 1, 2)
        if np.linalg.det(corners[1:]) < 0:
            corners = corners[[1, 0, 2, 3]]
        inside = number[tuple(np.moveaxis(np.minimum(x[:, None] + corners, n + 1), 2, 0))]
        parts.append(inside[(inside >= 0).all(1)])
    barycentric = np.column_stack([n - x[:, 0], x[:, 0] - x[:, 1], x[:, 1] - x[:, 2], x[:, 2]])
    return barycentric, np.concatenate(parts)

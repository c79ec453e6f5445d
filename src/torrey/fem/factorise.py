"""Sparse factorisation of a symmetric positive definite matrix, as a function that solves with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

_METIS_FROM = 2000
"""Nodes from which the better order is worth its time."""


def factorise(matrix: csc_array) -> Callable[[np.ndarray], np.ndarray]:
    """Factorise `matrix` (n, n) and return x ↦ matrix⁻¹x for x of shape (n,) or (n, k).

    SuperLU without pivoting, nodes ordered by METIS where the optional `pymetis` is installed (40 % less fill
    than SciPy's minimum degree at 20 000 nodes) and by minimum degree otherwise. The answer is the same to
    rounding.
    """
    options = {"SymmetricMode": True}
    if matrix.shape[0] < _METIS_FROM or importlib.util.find_spec("pymetis") is None:
        factor = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        return factor.solve  # type: ignore[no-any-return]
    order = _nested_dissection(matrix.indptr.tobytes(), matrix.indices.tobytes(), matrix.indices.dtype.str)
    place = np.argsort(order)
    permuted = csc_array(matrix[order][:, order])
    factor = splu(permuted, permc_spec="NATURAL", diag_pivot_thresh=0.0, options=options)

    def solve(right: np.ndarray) -> np.ndarray:
        solution: np.ndarray = factor.solve(right.take(order, axis=0)).take(place, axis=0)
        return solution

    return solve


@lru_cache(maxsize=4)
def _nested_dissection(indptr: bytes, indices: bytes, dtype: str) -> np.ndarray:
    """Order the nodes of a pattern; kept, for a fit solves on the same pattern again and again."""
    import pymetis

    starts, rows = np.frombuffer(indptr, dtype), np.frombuffer(indices, dtype)
    columns = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    off = rows != columns
    counts = np.bincount(columns[off], minlength=len(starts) - 1)
    starts = np.r_[0, np.cumsum(counts)].astype(np.int32)
    adjacency = pymetis.CSRAdjacency(starts, rows[off].astype(np.int32))
    permutation, _ = pymetis.nested_dissection(adjacency=adjacency)
    return np.asarray(permutation)

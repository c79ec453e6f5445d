r"""Block Lanczos with a shift: the lowest modes of S φ = λ M φ from solves with S − σM.

Golub and Underwood's block Lanczos method for K = (S − σM)⁻¹M, σ < 0, which is self-adjoint in the M-inner
product and has the eigenvalues θ = 1/(λ − σ), lowest modes first (the shifted block Lanczos of Grimes, Lewis
and Simon, SIAM J. Matrix Anal. Appl. 15, 1994). Each step solves with a block of right-hand sides,

    K Wⱼ = Wⱼ₋₁ Bⱼ₋₁ᵀ + Wⱼ Aⱼ + Wⱼ₊₁ Bⱼ,    T = tridiag(B, A, Bᵀ),

and makes the new block M-orthogonal to all before it. A Ritz pair (θ, y) of T has the residual
‖K x − θ x‖_M = ‖Bⱼ y_last‖, which decides when to stop. Two things differ from ARPACK: blocks, so that
factors and basis pass through memory once for several vectors, and a basis that grows instead of restarting.
The products with the whole basis run in torch, whose BLAS is the quicker one for narrow blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse import csc_array

from ..errors import ConvergenceError

BLOCK = 4
"""Right-hand sides in one solve; wider blocks cost more vectors in all than they save on each."""

TOLERANCE = 1e-9
"""Residual of K x = θ x over θ, for every wanted pair. Signals see its square, a gradient it over the gap."""

_SAME = 1e-9
"""Relative distance under which values of θ count as copies of one."""

_PASSES = 5
"""Orthogonalisations of a block before giving up; one is the rule."""

_MOST = 12
"""Basis vectors for each wanted pair before giving up; long thin tubes need some 5, round shapes 3."""


def block_lanczos(
    mass: csc_array, solve: Callable[[np.ndarray], np.ndarray], count: int, *, shift: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` lowest eigenvalues (count,), 1/ms, ascending, and eigenvectors (nodes, count).

    Parameters
    ----------
    mass : (nodes, nodes) csc_array
        M, symmetric positive definite.
    solve : callable
        Applies (S − σM)⁻¹ to (nodes, k).
    count : int
        How many pairs; at most a third of the nodes.
    shift : float
        σ, 1/ms; below every eigenvalue.

    Raises
    ------
    ConvergenceError
        When the basis reaches its limit first.
    """
    block = BLOCK
    while True:
        theta, vectors = _largest_pairs(mass, solve, count, block)
        # a block of b vectors sees b copies of an eigenvalue only (b equal cells apart have b zeros)
        if _most_copies(theta) < block:
            return shift + 1 / theta, vectors
        block *= 2


def _largest_pairs(
    mass: csc_array, solve: Callable[[np.ndarray], np.ndarray], count: int, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` largest θ, descending, and their eigenvectors (nodes, count)."""
    n_nodes = int(mass.shape[0])
    most = min(n_nodes - block, _MOST * count + 40 * block)
    Q = np.empty((most + block, n_nodes)).T
    T = np.zeros((most + block, most + block))
    # a fixed start makes runs repeat exactly; it must not be orthogonal to a symmetry class
    start = np.random.default_rng(0).standard_normal((n_nodes, block))
    W, MW, _ = _orthonormal(solve(start), mass, Q[:, :0])
    Q[:, :block] = W
    size, check, last = 0, 2 * count + min(12 * block, count), (0, 0.0)
    while size + block <= most:
        old, size = size, size + block
        U = solve(MW)
        T[old:size, old:size] = MW.T @ U
        # the blocks of the recurrence come first; against the others only rounding is left
        near = max(0, old - block)
        U -= Q[:, near:size] @ T[near:size, old:size]
        W, MW, B = _orthonormal(U, mass, Q[:, :size])
        Q[:, size : size + block] = W
        T[size : size + block, old:size] = B
        T[old:size, size : size + block] = B.T
        if size < min(check, most - block):
            continue
        theta, Y = eigh(T[:size, :size], subset_by_index=(size - count, size - count))
        residual = float(_residuals(theta, Y, B)[0])
        if residual < TOLERANCE:
            theta, Y = np.linalg.eigh(T[:size, :size])
            theta, Y = theta[: -count - 1 : -1], Y[:, : -count - 1 : -1]
            if _residuals(theta, Y, B).max() < TOLERANCE:
                return theta, Q[:, :size] @ Y
        check = size + int(_vectors_to_check(size, residual, last, block))
        last = size, residual
    raise ConvergenceError(
        f"modes: block Lanczos with {size} vectors did not bring {count} modes of {n_nodes} nodes "
        f"to a residual of {TOLERANCE:g}"
    )


def _orthonormal(U: np.ndarray, mass: csc_array, Q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W, MW and B with U = W B + a part along Q; W is M-orthonormal, and M-orthogonal to Q."""
    W, MW, B = _cholesky_qr(U, mass @ U)
    for _ in range(_PASSES):
        along = _times(Q.T, MW)
        W = W - _times(Q, along)
        W, MW, again = _cholesky_qr(W, mass @ W)
        B = again @ B
        # division by a small B magnifies rounding, which then takes another pass
        if Q.shape[1] == 0 or np.abs(along).max() < 1e-8:
            return W, MW, B
    raise ConvergenceError(f"modes: block Lanczos broke down, no new direction after {Q.shape[1]} vectors")


def _cholesky_qr(U: np.ndarray, MU: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return W, MW and upper B with U = W B and W M-orthonormal as far as the condition of U allows."""
    try:
        B = np.linalg.cholesky(U.T @ MU).T
    except np.linalg.LinAlgError as error:
        raise ConvergenceError("modes: block Lanczos broke down, its vectors are dependent") from error
    inverse = np.linalg.inv(B)
    return U @ inverse, MU @ inverse, B


def _times(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    product: np.ndarray = (torch.from_numpy(left) @ torch.from_numpy(right)).numpy()
    return product


def _residuals(theta: np.ndarray, Y: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Return ‖K x − θ x‖_M / θ of each Ritz pair."""
    relative: np.ndarray = np.linalg.norm(B @ Y[-len(B) :], axis=0) / theta
    return relative


def _vectors_to_check(size: int, residual: float, last: tuple[int, float], block: int) -> float:
    """Return after how many vectors to look again: most of the way at the rate since the `last` look."""
    before, earlier = last
    if earlier <= 10 * residual:
        return 4 * block
    missing = (size - before) * math.log(residual / TOLERANCE) / math.log(earlier / residual)
    return min(0.7 * missing, 0.3 * size)


def _most_copies(theta: np.ndarray) -> int:
    breaks = np.flatnonzero(-np.diff(theta) > _SAME * theta[:-1])
    return int(np.diff(np.r_[-1, breaks, len(theta) - 1]).max())

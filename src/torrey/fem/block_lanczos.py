r"""Block Lanczos with a shift: the lowest modes of S φ = λ M φ from solves with S − σM.

Golub and Underwood's block Lanczos method for K = (S − σM)⁻¹M, σ < 0, which is self-adjoint in the M-inner
product and has the eigenvalues θ = 1/(λ − σ), lowest modes first (the shifted block Lanczos of Grimes, Lewis
and Simon, SIAM J. Matrix Anal. Appl. 15, 1994). Each step solves with a block of right-hand sides,

    K Wⱼ = Wⱼ₋₁ Bⱼ₋₁ᵀ + Wⱼ Aⱼ + Wⱼ₊₁ Bⱼ,    T = tridiag(B, A, Bᵀ),

and makes the new block M-orthogonal to all before it. A Ritz pair (θ, y) of T has the residual
‖K x − θ x‖_M = ‖Bⱼ y_last‖, which decides when to stop. Two things differ from ARPACK: blocks, so that
factors and basis pass through memory once for several vectors, and a basis that grows instead of restarting,
so that more pairs can be asked for later.
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
"""Right-hand sides in one solve for few pairs; wider blocks cost more vectors in all than each saves."""

WIDEST_BLOCK = 16
"""For many pairs: the products with the long basis, which passes through memory once a block, are most of the
work then. Of 11 000 nodes 660 modes took 12.9 s with blocks of 4, 8.9 with 8 and 7.5 with 16."""

_COUNT_PER_COLUMN = 32
"""Wanted pairs for each vector of a block between the two."""

TOLERANCE = 1e-9
"""Residual of K x = θ x over θ, for every wanted pair. Signals see its square, a gradient it over the gap."""

_SAME = 1e-9
"""Relative distance under which values of θ count as copies of one."""

_PASSES = 5
"""Orthogonalisations of a block before giving up; one is the rule."""

_MOST = 12
"""Basis vectors for each wanted pair before giving up; long thin tubes need some 5, round shapes 3."""


class BlockLanczos:
    """A Krylov space of K that grows until it holds the pairs that are asked for, and keeps what it has.

    Asking for more pairs than before continues where the last call ended.

    Parameters
    ----------
    mass : (nodes, nodes) csc_array
        M, symmetric positive definite.
    solve : callable
        Applies (S − σM)⁻¹ to (nodes, k).
    shift : float
        σ, 1/ms; below every eigenvalue.
    """

    def __init__(self, mass: csc_array, solve: Callable[[np.ndarray], np.ndarray], *, shift: float) -> None:
        self._mass, self._solve, self._shift = mass, solve, shift
        self._block = 0
        self._theta = np.zeros(0)

    def lowest(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` lowest eigenvalues (count,), 1/ms, ascending, and eigenvectors (nodes, count).

        `count` is at most a third of the nodes.

        Raises
        ------
        ConvergenceError
            When the basis reaches its limit first.
        """
        if self._block == 0:
            self._begin(min(WIDEST_BLOCK, max(BLOCK, count // _COUNT_PER_COLUMN)))
        while True:
            theta, Y = self._largest(count)
            # a block of b vectors sees b copies of an eigenvalue only (b equal cells apart have b zeros)
            if _most_copies(theta) < self._block:
                return self._shift + 1 / theta, self._Q[:, : self._size] @ Y
            self._begin(2 * self._block)

    def at_least_below(self, value: float) -> int:
        """Return how many Ritz values are below `value`, 1/ms: a lower bound on the count of eigenvalues.

        By Cauchy's interlacing: the k-th largest Ritz value of K is no larger than the k-th largest θ. The
        space is that of the last `lowest`.
        """
        return int((self._theta > 1 / (value - self._shift)).sum())

    def _begin(self, block: int) -> None:
        n_nodes = int(self._mass.shape[0])
        self._block, self._size = block, 0
        self._Q, self._T = np.empty((0, n_nodes)).T, np.zeros((0, 0))
        # a fixed start makes runs repeat exactly; it must not be orthogonal to a symmetry class
        start = np.random.default_rng(0).standard_normal((n_nodes, block))
        self._W, self._MW, self._B = _orthonormal(self._solve(start), self._mass, self._Q)

    def _largest(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `count` largest θ, descending, and their coefficients Y (size, count) in the basis."""
        n_nodes, block = int(self._mass.shape[0]), self._block
        most = min(n_nodes - block, _MOST * count + 40 * block)
        self._reserve(most)
        check, last = 2 * count + min(12 * block, count), (0, 0.0)
        while True:
            while self._size < check and self._size + block <= most:
                self._step()
            size, T = self._size, self._T[: self._size, : self._size]
            theta, Y = eigh(T, subset_by_index=(size - count, size - count))
            residual = float(_residuals(theta, Y, self._B)[0])
            if residual < TOLERANCE:
                self._theta, Y = np.linalg.eigh(T)
                theta, Y = self._theta[: -count - 1 : -1], Y[:, : -count - 1 : -1]
                if _residuals(theta, Y, self._B).max() < TOLERANCE:
                    return theta, Y
            if size + block > most:
                raise ConvergenceError(
                    f"modes: block Lanczos with {size} vectors did not bring {count} modes "
                    f"of {n_nodes} nodes to a residual of {TOLERANCE:g}"
                )
            check = size + max(1, int(_vectors_to_check(size, residual, last, block)))
            last = size, residual

    def _step(self) -> None:
        """Take the next block into the basis: one solve, and the block after it."""
        old, size = self._size, self._size + self._block
        self._Q[:, old:size] = self._W
        if old:
            self._T[old:size, old - self._block : old] = self._B
            self._T[old - self._block : old, old:size] = self._B.T
        U = self._solve(self._MW)
        self._T[old:size, old:size] = self._MW.T @ U
        # the blocks of the recurrence come first; against the others only rounding is left
        near = max(0, old - self._block)
        U -= self._Q[:, near:size] @ self._T[near:size, old:size]
        self._W, self._MW, self._B = _orthonormal(U, self._mass, self._Q[:, :size])
        self._size = size

    def _reserve(self, most: int) -> None:
        """Make room for `most` vectors; what is not used takes no memory."""
        if most <= len(self._T):
            return
        size, Q, T = self._size, self._Q, self._T
        self._Q, self._T = np.empty((most, len(Q))).T, np.zeros((most, most))
        self._Q[:, :size], self._T[:size, :size] = Q[:, :size], T[:size, :size]


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

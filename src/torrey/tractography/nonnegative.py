"""Sparse least squares with unknowns that are not negative, and its derivative."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch
from scipy.optimize import minimize
from scipy.sparse.linalg import lsmr
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..errors import ConvergenceError, InputError

TOLERANCE = 1e-6
"""Of the gradient where the fit ends, over that where all unknowns are zero, with columns of length one."""

MAX_ITERATIONS = 20_000
"""Of L-BFGS-B."""


def nonnegative_fit(blocks: Tensor, target: Tensor, rows: Tensor, columns: Tensor, n: int) -> Tensor:
    """Return the w ≥ 0 that minimises |A w − y|².

    A is made of columns of M values: block k stands in block row `rows[k]` of column `columns[k]`. At the
    solution the free unknowns F (w > 0) solve A_FᵀA_F w_F = A_Fᵀy, which gives the derivative; those at zero
    stay there. Where the columns of F depend on each other, w is one of many and has no derivative.

    Parameters
    ----------
    blocks : (K, M) Tensor
        Values of A; differentiable.
    target : (V, M) Tensor
        y; differentiable.
    rows, columns : (K,) Tensor
        Places of the blocks, no two the same.
    n : int
        Number of columns.

    Raises
    ------
    ConvergenceError
        When the fit ends above `TOLERANCE`.
    InputError
        In the backward pass, where w has no derivative.
    """
    weights: Tensor = _NonNegative.apply(blocks, target, rows, columns, n)
    return weights


class _NonNegative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        blocks, target, rows, columns, n = inputs
        A = _matrix(blocks, target, rows, columns, n)
        weights = torch.as_tensor(_solve(A, target.detach().cpu().double().numpy().ravel())).to(target)
        ctx.save_for_backward(blocks, target, rows, columns, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        blocks, target, rows, columns, weights = ctx.saved_tensors
        A = _matrix(blocks, target, rows, columns, len(weights))
        w = weights.cpu().double().numpy()
        free = np.flatnonzero(w > 0)
        A_free = A[:, free]
        u = np.zeros(len(w))
        u[free] = _solve_free(A_free, gradients[0].detach().cpu().double().numpy()[free])
        v = A @ u
        residual = target.detach() - torch.as_tensor(A @ w).to(target).reshape(target.shape)
        adjoint = torch.as_tensor(v).to(target).reshape(target.shape)
        along = torch.as_tensor(u).to(target)
        # dL = uᵀdAᵀ(y − A w) − vᵀdA w + vᵀdy
        to_blocks = along[columns, None] * residual[rows] - weights[columns, None] * adjoint[rows]
        return to_blocks, adjoint, None, None, None


def _solve_free(A: scipy.sparse.csr_matrix, g: np.ndarray) -> np.ndarray:
    """Return (AᵀA)⁻¹ g; dense, for the free unknowns of thousands of streamlines share voxels."""
    if not len(g):
        return g
    try:
        return np.asarray(scipy.linalg.solve((A.T @ A).toarray(), g, assume_a="pos"))
    except scipy.linalg.LinAlgError as error:
        raise InputError(
            f"weights of {len(g)} streamlines have no derivative: some make the signal of others together"
        ) from error


def _matrix(blocks: Tensor, target: Tensor, rows: Tensor, columns: Tensor, n: int) -> scipy.sparse.csr_matrix:
    height = target.shape[1]
    lines = (rows[:, None] * height + torch.arange(height, device=rows.device)).cpu().numpy()
    places = columns[:, None].expand(-1, height).cpu().numpy()
    values = blocks.detach().cpu().double().numpy()
    return scipy.sparse.csr_matrix((values.ravel(), (lines.ravel(), places.ravel())), (target.numel(), n))


def _solve(A: scipy.sparse.csr_matrix, y: np.ndarray) -> np.ndarray:
    lengths = scipy.sparse.linalg.norm(A, axis=0)
    lengths[lengths == 0] = 1.0  # a column of zeros keeps the weight 0 that it begins with
    A = A @ scipy.sparse.diags(1 / lengths)
    transposed = A.T.tocsr()
    largest = np.abs(transposed @ y).max(initial=0.0)
    if largest == 0:
        return np.zeros(A.shape[1])

    def misfit(x: np.ndarray) -> tuple[float, np.ndarray]:
        residual = A @ x - y
        return float(residual @ residual) / (2 * largest), (transposed @ residual) / largest

    start = np.zeros(A.shape[1])
    bounds = [(0, None)] * len(start)
    most = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS}
    options = {"gtol": TOLERANCE, "ftol": 0.0, "maxcor": 30} | most
    found = minimize(misfit, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    x = _polished(A, y, found.x)
    left = float(np.abs(x - np.maximum(x - misfit(x)[1], 0)).max())
    if left > TOLERANCE:
        raise ConvergenceError(
            f"weights of {len(start)} streamlines: the gradient is {left:.1e} of its first value after "
            f"{found.nit} iterations; expected {TOLERANCE:g}"
        )
    return np.asarray(x / lengths)


def _polished(A: scipy.sparse.csr_matrix, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Solve for the free unknowns alone, if all stay free: rounding of the misfit ends L-BFGS-B before."""
    free = np.flatnonzero(x > 0)
    better = x.copy()
    better[free] += lsmr(A[:, free], y - A @ x, atol=1e-12, btol=1e-12)[0]
    return better if (better >= 0).all() else x

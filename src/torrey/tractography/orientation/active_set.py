"""Least squares with active rows: the search for them, and the derivative of the solution with them held.

For each voxel v, f_v minimises ‖A f − s_v‖² + ρ‖f‖² + Σ_{k active in v} (B_k f)², so W_v f_v = Aᵀ s_v with
W_v = AᵀA + ρ + Σ_k B_kᵀB_k. The backward pass is one more solve with W_v.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import InputError


@dataclass(frozen=True, eq=False)
class ActiveRows:
    """The problem that all voxels share.

    Parameters
    ----------
    forward : (N, n) Tensor
        A.
    rows : (D, n) Tensor
        B.
    ridge : () Tensor
        ρ.
    """

    forward: Tensor
    rows: Tensor
    ridge: Tensor

    def detach(self) -> ActiveRows:
        """Return the same problem without gradients."""
        return ActiveRows(self.forward.detach(), self.rows.detach(), self.ridge.detach())

    def factor(self, active: Tensor) -> Tensor:
        """Return the Cholesky factors (V, n, n) of W for `active` (V, D), bool."""
        n = self.forward.shape[1]
        packed = active.to(self.forward) @ self._row_products + self._common
        row, column = torch.tril_indices(n, n, device=packed.device)
        matrices = packed.new_zeros(len(active), n, n)
        matrices[:, row, column] = packed
        factors: Tensor
        factors, info = torch.linalg.cholesky_ex(matrices)
        if bool((info != 0).any()):
            raise InputError("signals do not determine the FOD; expected more directions or norm_lambda > 0")
        return factors

    @cached_property
    def _row_products(self) -> Tensor:
        """(D, n(n+1)/2) lower triangles of B_kᵀB_k."""
        row, column = torch.tril_indices(self.rows.shape[1], self.rows.shape[1], device=self.rows.device)
        return self.rows[:, row] * self.rows[:, column]

    @cached_property
    def _common(self) -> Tensor:
        """(n(n+1)/2,) lower triangle of AᵀA + ρ."""
        n = self.forward.shape[1]
        row, column = torch.tril_indices(n, n, device=self.rows.device)
        return (self.forward.T @ self.forward + self.ridge * torch.eye(n).to(self.forward))[row, column]


def solve_with_active_rows(
    signals: Tensor, problem: ActiveRows, *, start: Tensor, threshold: float, max_iterations: int
) -> tuple[Tensor, Tensor]:
    """Return f (V, n) with rows active where B f < threshold, and which voxels (V,) found such a set.

    Parameters
    ----------
    signals : (V, N) Tensor
        Differentiable, as the tensors of `problem` are.
    problem : ActiveRows
    start : (V, n) Tensor
        Where the search begins.
    threshold : float
    max_iterations : int
    """
    with torch.no_grad():
        fixed = problem.detach()
        solution, active, settled = _search(signals @ fixed.forward, fixed, start, threshold, max_iterations)
    solution = _Solution.apply(signals, problem.forward, problem.rows, problem.ridge, active, solution)
    return solution, settled


def _search(
    projected: Tensor, problem: ActiveRows, start: Tensor, threshold: float, max_iterations: int
) -> tuple[Tensor, Tensor, Tensor]:
    solution = start.clone()
    active = torch.zeros(len(start), len(problem.rows), dtype=torch.bool, device=start.device)
    restless = torch.arange(len(start), device=start.device)
    for iteration in range(max_iterations):
        found = solution[restless] @ problem.rows.T < threshold
        if iteration:
            changed = (found != active[restless]).any(1)
            restless, found = restless[changed], found[changed]
        if not len(restless):
            break
        active[restless] = found
        factors = problem.factor(found)
        solution[restless] = torch.cholesky_solve(projected[restless, :, None], factors)[:, :, 0]
    again = solution @ problem.rows.T < threshold
    return solution, active, (again == active).all(1)


class _Solution(torch.autograd.Function):
    """f for given active rows; the solution is known already."""

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        signals: Tensor,
        forward: Tensor,
        rows: Tensor,
        ridge: Tensor,
        active: Tensor,
        solution: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(signals, forward, rows, ridge, active, solution)
        return solution.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """With W λ = grad: dL = λᵀ(dAᵀ s + Aᵀ ds − dW f)."""
        signals, forward, rows, ridge, active, f = ctx.saved_tensors
        factors = ActiveRows(forward, rows, ridge).factor(active)
        adjoint = torch.cholesky_solve(grad[:, :, None], factors)[:, :, 0]
        sampled = adjoint @ forward.T
        grad_forward = (signals - f @ forward.T).T @ adjoint - sampled.T @ f
        held = active.to(f)
        grad_rows = -(held * (f @ rows.T)).T @ adjoint - (held * (adjoint @ rows.T)).T @ f
        return sampled, grad_forward, grad_rows, -(adjoint * f).sum(), None, None

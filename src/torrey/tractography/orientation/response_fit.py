"""The response that fits the signals of many single-fibre voxels at once.

The signal of a voxel whose fibre is along u is Σ_l r_l Y_l0(u·g), so the r_l of all voxels together are one
linear least-squares problem, solved with two constraints on the response: it is not negative, and it does
not fall from the fibre's direction out to the plane across it (Smith, Dhollander and Connelly, ISMRM Workshop
on Breaking the Barriers of Diffusion MRI, 23 (2016)).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from ...errors import InputError

_SPACING = 1
"""Degrees between the angles from the fibre at which the response is held to its constraints: MRtrix's."""


def fit_response(signals: Tensor, gradients: Tensor, fibres: Tensor, *, degree: int) -> Tensor:
    """Return the zonal harmonics (K,) of even degree of the response, as MRtrix's `amp2response` does.

    Parameters
    ----------
    signals : (V, N) Tensor
        Of one shell; differentiable.
    gradients : (N, 3) Tensor
        Unit vectors.
    fibres : (V, 3) Tensor
        Unit vectors along the fibres, of either sign; differentiable.
    degree : int
        Even; K = degree/2 + 1.

    Raises
    ------
    InputError
        When voxels and gradients do not determine the response.

    Notes
    -----
    The derivative is that of the solution with the constraints that hold it kept as equations.
    """
    design = zonal_harmonics(fibres @ gradients.T, degree).flatten(0, 1)
    normal, right = design.T @ design, design.T @ signals.flatten()
    if int(torch.linalg.matrix_rank(normal.detach(), hermitian=True)) < design.shape[1]:
        raise InputError(
            f"{len(signals)} voxels of {len(gradients)} directions do not determine a response of degree "
            f"{degree}"
        )
    holding = _holding_rows(normal.detach(), right.detach(), degree)
    # rows of the right singular vectors past the rank span what the held rows leave free
    free = torch.linalg.svd(holding)[2][int(torch.linalg.matrix_rank(holding)) :].T
    response: Tensor = free @ torch.linalg.solve(free.T @ normal @ free, free.T @ right)
    return response


def zonal_harmonics(cosines: Tensor, degree: int) -> Tensor:
    """Return Y_l0 (..., K) of even l at angles of these `cosines` (...) from the axis."""
    before, legendre = torch.zeros_like(cosines), torch.ones_like(cosines)
    columns = []
    for l in range(degree + 1):
        if l % 2 == 0:
            columns.append(math.sqrt((2 * l + 1) / (4 * math.pi)) * legendre)
        before, legendre = legendre, ((2 * l + 1) * cosines * legendre - l * before) / (l + 1)
    return torch.stack(columns, -1)


def _holding_rows(normal: Tensor, right: Tensor, degree: int) -> Tensor:
    """Return the rows (A, K) of the constraints G r ≥ 0 that hold the solution back.

    With x the free solution and N = `normal`, r = x + N⁻¹Gᵀλ, where λ ≥ 0 is a non-negative least-squares
    solution (Lawson and Hanson, Solving Least Squares Problems, ch. 23); rows with λ > 0 hold.
    """
    angles = torch.deg2rad(torch.arange(0, 90, _SPACING, dtype=normal.dtype, device=normal.device))
    ones = torch.ones_like(angles)
    slopes = torch.autograd.functional.jvp(lambda x: zonal_harmonics(x.cos(), degree), (angles,), (ones,))[1]
    # the least value is at the fibre, and the slope there is zero in any case
    rows = torch.cat([zonal_harmonics(angles[:1].cos(), degree), slopes[1:]])
    upper = torch.linalg.cholesky(normal).T
    unconstrained = torch.linalg.solve(normal, right)
    columns = torch.linalg.solve_triangular(upper.T, rows.T, upper=False)
    multipliers, _ = nnls(columns.cpu().numpy(), -(upper @ unconstrained).cpu().numpy())
    return rows[torch.from_numpy(np.flatnonzero(multipliers > 0)).to(rows.device)]

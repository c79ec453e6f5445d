"""Clamped uniform B-splines on [0, 1] as small dense matrices."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from ..errors import InputError

DEGREE = 3


def spline_matrix(n_control: int, parameters: Tensor, *, derivative: int = 0) -> Tensor:
    """Return the matrix (L, K) from K control values to values (or derivatives) at `parameters` (L,)."""
    if n_control <= DEGREE:
        raise InputError(f"spline: {n_control} control points, expected at least {DEGREE + 1}")
    spline = BSpline(_knots(n_control), np.eye(n_control), DEGREE)
    values = spline(parameters.double().cpu().numpy().clip(0.0, 1.0), nu=derivative)
    return torch.from_numpy(np.ascontiguousarray(values))


def refined_count(n_control: int) -> int:
    """Return the number of control points after a knot is inserted in the middle of every span."""
    return 2 * (n_control - DEGREE) + DEGREE


@cache
def refinement_matrix(n_control: int) -> Tensor:
    """Return the matrix (K', K) that inserts a knot in the middle of every span; the curve stays the same.

    The finer splines contain the coarser ones, so the fit below is exact (Boehm's insertion in matrix form).
    """
    fine = refined_count(n_control)
    parameters = torch.linspace(0, 1, 8 * fine, dtype=torch.float64)
    coarse_values = spline_matrix(n_control, parameters)
    fine_values = spline_matrix(fine, parameters)
    inserted: Tensor = torch.linalg.lstsq(fine_values, coarse_values).solution
    return inserted


def greville(n_control: int) -> Tensor:
    """Return the Greville abscissae (K,): control values linear in them give a linear spline."""
    knots = _knots(n_control)
    return torch.tensor([knots[i + 1 : i + 1 + DEGREE].mean() for i in range(n_control)], dtype=torch.float64)


def _knots(n_control: int) -> np.ndarray:
    inner = np.linspace(0, 1, n_control - DEGREE + 1)
    return np.concatenate([np.zeros(DEGREE), inner, np.ones(DEGREE)])

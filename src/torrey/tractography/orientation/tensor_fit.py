"""Diffusion tensors by weighted least squares on the logarithm of the signal.

ln S = ln S0 − b gᵀDg. An error of S is divided by S in ln S, so equations are weighted by S: first the
measured, then the predicted one (Basser, Mattiello and LeBihan, J. Magn. Reson. B 103, 247 (1994); Veraart et
al., NeuroImage 81, 335 (2013)).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InputError
from ...units import S_PER_MM2
from .gradient_table import GradientTable
from .tensors import Tensors

_FLOOR = 1e-6
"""Signals below this part of their voxel's largest are raised to it before the logarithm, as MRtrix does."""


def fit_tensor(signals: Tensor, table: GradientTable, *, n_reweightings: int = 2) -> Tensors:
    """Fit a tensor to each voxel, differentiably in `signals`.

    Parameters
    ----------
    signals : (..., N) Tensor
        All volumes, b = 0 and others.
    table : GradientTable
        Of the N volumes.
    n_reweightings : int
        Further fits, each weighted by the signals that the last one predicts: 2 is `dwi2tensor`, 0 its
        `-iter 0`.

    Returns
    -------
    Tensors
        (..., 3, 3) in world axes, µm²/ms, with S0.

    Raises
    ------
    InputError
        When shapes do not fit, a signal is not finite, a voxel has no positive signal, or the gradients do
        not determine a tensor.

    Notes
    -----
    The derivative includes that of the weights.
    """
    table.require_volumes(signals.shape[-1])
    signals = signals.double()
    if not bool(signals.isfinite().all()) or bool((signals.amax(-1) <= 0).any()):
        raise InputError("signals of a voxel are not finite, or none is positive; expected some S > 0")
    design = _design(table).to(signals)
    if int(torch.linalg.matrix_rank(design)) < 7:
        raise InputError("the gradients do not determine a tensor; expected six directions and two b-values")
    floored = torch.maximum(signals, _FLOOR * signals.amax(-1, keepdim=True))
    logarithm = floored.log()
    weights = floored
    for _ in range(n_reweightings):
        weights = (_weighted(design, logarithm, weights) @ design.T).exp()
    solution = _weighted(design, logarithm, weights)
    xx, yy, zz, xy, xz, yz, log_s0 = solution.unbind(-1)
    rows = [torch.stack(row, -1) for row in ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))]
    return Tensors(torch.stack(rows, -2), log_s0.exp())


def _design(table: GradientTable) -> Tensor:
    """Return the rows (N, 7) that take Dxx, Dyy, Dzz, Dxy, Dxz, Dyz and ln S0 to ln S."""
    x, y, z = table.directions.unbind(1)
    b = table.bvals / S_PER_MM2
    quadratic = torch.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], 1)
    return torch.cat([-b[:, None] * quadratic, torch.ones_like(b)[:, None]], 1)


def _weighted(design: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    squares = weights.square() / weights.square().amax(-1, keepdim=True).detach()
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), 49)
    normal = (squares @ products).unflatten(-1, (7, 7))
    solution: Tensor = torch.linalg.solve(normal, (squares * values) @ design)
    return solution

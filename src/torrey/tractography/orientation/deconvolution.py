"""Constrained spherical deconvolution: fibre orientation distributions (FODs) from one shell of signals.

Where an FOD f is negative it is pulled to zero: with A the convolution by the response, sampled at the
gradients, and B the FOD sampled at the constraint directions,

    f = argmin ‖A f − s‖² + ρ ‖f‖² + Σ_{k active} (B_k f)²,      active = {k : B_k f < τ},

found by solving for f and updating the active set until it stays (Tournier, Calamante and Connelly,
NeuroImage 35, 1459 (2007)). The scaling of the terms is that of MRtrix's `dwi2fod csd`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from ...errors import AccuracyWarning, InputError
from ..harmonics import harmonics, n_coefficients
from .active_set import ActiveRows, solve_with_active_rows
from .directions import constraint_directions as default_directions
from .gradient_table import GradientTable
from .response import per_coefficient, rotational_harmonics

_START_DEGREE = 4
"""The start is a deconvolution of these degrees only, which noise hardly reaches."""

_CHUNK_BYTES = 2**26
"""Memory of the systems (n, n) solved at once."""


def deconvolve(
    signals: Tensor,
    table: GradientTable,
    response: Tensor,
    *,
    degree: int | None = None,
    shell: float | None = None,
    mask: Tensor | None = None,
    constraint_directions: Tensor | None = None,
    neg_lambda: float = 1.0,
    norm_lambda: float = 1.0,
    threshold: float = 0.0,
    max_iterations: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return the FOD of each voxel, differentiable in `signals` and `response`.

    Parameters
    ----------
    signals : (..., N) Tensor
        All volumes; those of `shell` are used. Negative ones count as zero.
    table : GradientTable
        Of the N volumes.
    response : (K,) Tensor
        Zonal harmonics of the shell's signal of one fibre population, as `dwi2response` gives them.
    degree : int, optional
        Of the FOD; that of the response, at most 8, by default.
    shell : float, optional
        b-value, s/mm²; the largest by default.
    mask : (...) Tensor of bool, optional
        Voxels to fit; the coefficients of others are zero.
    constraint_directions : (D, 3) Tensor, optional
        Unit vectors where the FOD is kept from being negative; MRtrix's 300 by default. As many in other
        places change FODs by 1 to 2 % (median).
    neg_lambda, norm_lambda : float
        Strength of the constraint and of ρ.
    threshold : float
        τ, amplitude of the FOD below which a direction is active.
    max_iterations : int
        Updates of the active set.
    progress : callable, optional
        Called with the number of voxels done and of all.

    Returns
    -------
    (..., n_coefficients(degree)) Tensor of float64
        MRtrix's basis, world axes.

    Raises
    ------
    InputError
        When shapes do not fit, a signal to fit is not finite, or an option is out of range.

    Warns
    -----
    AccuracyWarning
        When active sets still change after `max_iterations`.

    Notes
    -----
    The derivative is that of the solution with its active set held: exact except at signals where the set
    changes.
    """
    if signals.dim() < 1:
        raise InputError("signals have no dimension; expected (..., N)")
    table.require_volumes(signals.shape[-1])
    voxels = signals.reshape(-1, signals.shape[-1])
    chosen = torch.ones(len(voxels), dtype=torch.bool) if mask is None else mask.reshape(-1)
    if len(chosen) != len(voxels):
        raise InputError(f"mask has {len(chosen)} voxels; expected {len(voxels)}")
    if neg_lambda < 0 or norm_lambda < 0 or max_iterations < 1:
        raise InputError("neg_lambda and norm_lambda are expected from 0, max_iterations from 1")
    if response.dim() != 1 or len(response) < 1 or not float(response.detach()[0]) > 0:
        raise InputError(f"response has shape {tuple(response.shape)}; expected (K,), the first positive")
    on_shell = table.shell(shell)
    weighted = voxels[chosen][:, on_shell].double()
    if not bool(weighted.isfinite().all()):
        raise InputError("a signal is not finite; expected finite ones inside the mask")
    response = response.to(weighted)
    gradients = table.directions[on_shell].to(weighted)
    directions = default_directions() if constraint_directions is None else constraint_directions
    degree = min(8, 2 * len(response) - 2) if degree is None else degree
    # MRtrix's scale; it suits about 300 directions, since their number divides the rows and not their squares
    weight = 50 * neg_lambda * response[0] / len(directions)
    rows = weight * harmonics(directions.to(weighted), degree)
    problem = _problem(gradients, response, degree, rows=rows, norm_lambda=norm_lambda)
    start = _start(gradients, response.detach(), degree)

    parts, n_restless, n_done = [weighted.new_zeros(0, n_coefficients(degree))], 0, 0
    for part in weighted.clamp(min=0).split(max(1, _CHUNK_BYTES // (8 * n_coefficients(degree) ** 2))):
        found, settled = solve_with_active_rows(
            part,
            problem,
            start=part.detach() @ start.T,
            threshold=threshold * float(weight.detach()),
            max_iterations=max_iterations,
        )
        parts.append(found)
        n_restless += int((~settled).sum())
        n_done += len(part)
        if progress is not None:
            progress(n_done, len(weighted))
    if n_restless:
        text = f"the active set of {n_restless} voxels still changes after {max_iterations} iterations"
        warnings.warn(text, AccuracyWarning, stacklevel=2)
    fitted = torch.cat(parts)
    out = fitted.new_zeros(len(voxels), fitted.shape[1])
    return out.index_put((chosen.nonzero()[:, 0],), fitted).reshape(*signals.shape[:-1], -1)


def _problem(
    gradients: Tensor, response: Tensor, degree: int, *, rows: Tensor, norm_lambda: float
) -> ActiveRows:
    """Return A, B = `rows` and ρ, whose 2e-4 is MRtrix's."""
    convolution = harmonics(gradients, degree) * per_coefficient(rotational_harmonics(response, degree))
    return ActiveRows(convolution, rows, 2e-4 * norm_lambda * convolution[:, 0].square().sum())


def _start(gradients: Tensor, response: Tensor, degree: int) -> Tensor:
    """Return the matrix (n, N) of an unconstrained deconvolution, of which the low degrees are kept.

    The search for the active set begins there; 1e-2 on the diagonal is MRtrix's.
    """
    fitted = min(degree, 2 * len(response) - 2)
    while n_coefficients(fitted) > len(gradients):
        fitted -= 2
    sampled = harmonics(gradients, fitted)
    sampled.diagonal().add_(1e-2)
    kept = n_coefficients(min(_START_DEGREE, fitted))
    kernel = per_coefficient(rotational_harmonics(response, fitted))
    start = gradients.new_zeros(n_coefficients(degree), len(gradients))
    start[:kept] = (torch.linalg.pinv(sampled) / kernel[:, None])[:kept]
    return start

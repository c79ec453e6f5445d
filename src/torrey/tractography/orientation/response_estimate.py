"""Estimating the response of one fibre population from an image that holds some voxels of one fibre each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import InputError
from .gradient_table import GradientTable
from .response_fit import fit_response
from .tensor_fit import fit_tensor
from .tensors import Tensors


@dataclass(frozen=True)
class HighestAnisotropy:
    """The voxels of highest fractional anisotropy, with the tensor's direction (`dwi2response fa`).

    Tournier et al., NeuroImage 23, 1176 (2004).

    Parameters
    ----------
    n_voxels : int
        How many.
    """

    n_voxels: int = 300

    def __post_init__(self) -> None:
        if self.n_voxels < 1:
            raise InputError(f"n_voxels is {self.n_voxels}; expected 1 or more")


class ResponseEstimate(NamedTuple):
    """A response and where it is from.

    Parameters
    ----------
    response : (K,) Tensor
        Zonal harmonics of even degree; differentiable in the signals.
    voxels : (...) Tensor of bool
        The single-fibre voxels.
    """

    response: Tensor
    voxels: Tensor


def estimate_response(
    signals: Tensor,
    table: GradientTable,
    *,
    mask: Tensor,
    algorithm: HighestAnisotropy | None = None,
    degree: int = 10,
    shell: float | None = None,
) -> ResponseEstimate:
    """Estimate the response of the single-fibre voxels that `algorithm` finds.

    Parameters
    ----------
    signals : (..., N) Tensor
        All volumes.
    table : GradientTable
        Of the N volumes.
    mask : (...) Tensor of bool
        Voxels to choose among: brain or white matter, since noise outside is anisotropic.
    algorithm : HighestAnisotropy, optional
        300 voxels by default.
    degree : int
        Of the response, even.
    shell : float, optional
        b-value of the response, s/mm²; the largest by default.

    Returns
    -------
    ResponseEstimate

    Raises
    ------
    InputError
        When shapes do not fit, the mask has fewer voxels than are asked for, or signals inside it are not
        finite or not positive anywhere.

    Notes
    -----
    The derivative is that with the chosen voxels held, through the tensors' directions too.
    """
    algorithm = HighestAnisotropy() if algorithm is None else algorithm
    table.require_volumes(signals.shape[-1])
    if mask.shape != signals.shape[:-1]:
        shapes = f"{tuple(mask.shape)}; expected {tuple(signals.shape[:-1])}"
        raise InputError(f"mask has shape {shapes}")
    if degree < 0 or degree % 2:
        raise InputError(f"degree is {degree}; expected an even number from 0")
    places = mask.flatten().nonzero()[:, 0]
    if len(places) < algorithm.n_voxels:
        raise InputError(f"mask has {len(places)} voxels; expected {algorithm.n_voxels} or more to choose among")
    voxels = signals.flatten(0, -2)
    on_shell = table.shell(shell)
    with torch.no_grad():
        anisotropy = fit_tensor(voxels[places], table).fractional_anisotropy
    best = places[anisotropy.topk(algorithm.n_voxels).indices]
    chosen = voxels[best].double()
    fibres = _strongest_direction(fit_tensor(chosen, table))
    response = fit_response(chosen[:, on_shell], table.directions[on_shell].to(chosen), fibres, degree=degree)
    where = torch.zeros_like(mask.flatten(), dtype=torch.bool)
    where[best] = True
    return ResponseEstimate(response, where.reshape(mask.shape))


def _strongest_direction(tensors: Tensors) -> Tensor:
    """Return the eigenvectors (V, 3) of the largest |eigenvalue|, MRtrix's order; noise makes some negative."""
    squared = tensors.diffusivity @ tensors.diffusivity
    return Tensors(squared, tensors.s0).principal_direction

"""Estimating the response of one fibre population from an image that holds some voxels of one fibre each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from ...errors import InputError
from .deconvolution import deconvolve
from .gradient_table import GradientTable
from .lobes import lobe_directions, two_peaks
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


@dataclass(frozen=True)
class SinglePeak:
    """The voxels whose FODs are most like one peak, by the response of the round before.

    Voxels rank by √a (1 − b/a)², a and b the amplitudes of the two highest peaks. The best give the next
    response; ten times as many, and their neighbours, compete in the next round, until the best stay the same
    (`dwi2response tournier`; Tournier, Calamante and Connelly, NMR Biomed. 26, 1775 (2013)).

    Parameters
    ----------
    n_voxels : int
        How many.
    max_rounds : int
        Rounds after which the search ends in any case.
    """

    n_voxels: int = 300
    max_rounds: int = 10

    def __post_init__(self) -> None:
        if self.n_voxels < 1 or self.max_rounds < 1:
            raise InputError(f"n_voxels is {self.n_voxels}, max_rounds {self.max_rounds}; expected 1 or more")


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
    algorithm: HighestAnisotropy | SinglePeak,
    degree: int = 10,
    shell: float | None = None,
) -> ResponseEstimate:
    """Estimate the response of the single-fibre voxels that `algorithm` finds.

    Parameters
    ----------
    signals : (..., N) Tensor
        All volumes; (X, Y, Z, N) for `SinglePeak`.
    table : GradientTable
        Of the N volumes.
    mask : (...) Tensor of bool
        Voxels to choose among: brain or white matter, since noise outside is anisotropic.
    algorithm : HighestAnisotropy or SinglePeak
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
    The derivative is that with the chosen voxels held: through the tensors' directions for
    `HighestAnisotropy`, with the directions held for `SinglePeak`.
    """
    table.require_volumes(signals.shape[-1])
    if mask.shape != signals.shape[:-1]:
        shapes = f"{tuple(mask.shape)}; expected {tuple(signals.shape[:-1])}"
        raise InputError(f"mask has shape {shapes}")
    if degree < 0 or degree % 2:
        raise InputError(f"degree is {degree}; expected an even number from 0")
    if (n_inside := int(mask.sum())) < algorithm.n_voxels:
        raise InputError(f"mask has {n_inside} voxels; expected {algorithm.n_voxels} or more to choose among")
    on_shell = table.shell(shell)
    if isinstance(algorithm, HighestAnisotropy):
        voxels, fibres = _highest_anisotropy(signals, table, mask, algorithm)
    else:
        voxels, fibres = _single_peak(
            signals.detach(), table, mask, algorithm, degree=degree, on_shell=on_shell
        )
    return ResponseEstimate(_fit(signals, table, voxels, fibres, degree=degree, on_shell=on_shell), voxels)


def _fit(
    signals: Tensor, table: GradientTable, voxels: Tensor, fibres: Tensor, *, degree: int, on_shell: Tensor
) -> Tensor:
    chosen = signals[voxels][:, on_shell].double()
    return fit_response(chosen, table.directions[on_shell].to(chosen), fibres, degree=degree)


def _highest_anisotropy(
    signals: Tensor, table: GradientTable, mask: Tensor, algorithm: HighestAnisotropy
) -> tuple[Tensor, Tensor]:
    """Return the chosen voxels (...) and their directions (V, 3)."""
    with torch.no_grad():
        anisotropy = fit_tensor(signals[mask], table).fractional_anisotropy
    voxels = _best(anisotropy, mask, algorithm.n_voxels)
    return voxels, _strongest_direction(fit_tensor(signals[voxels], table))


def _single_peak(
    signals: Tensor,
    table: GradientTable,
    mask: Tensor,
    algorithm: SinglePeak,
    *,
    degree: int,
    on_shell: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the chosen voxels (X, Y, Z) and their directions (V, 3)."""
    if mask.dim() != 3:
        raise InputError(
            f"signals have {mask.dim() + 1} dimensions; expected 4, for voxels to have neighbours"
        )
    shell = float(table.bvals[on_shell].mean())
    response = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64, device=signals.device)
    competing, voxels, fibres = mask, torch.zeros_like(mask), signals.new_zeros(0, 3)
    for i in range(algorithm.max_rounds):
        fods = deconvolve(signals[competing], table, response, shell=shell)
        amplitudes, peaks = two_peaks(fods)
        first, second = amplitudes.unbind(1)
        likeness = torch.where(first > 0, first.sqrt() * (1 - second / first) ** 2, 0.0)
        before, voxels = voxels, _best(likeness, competing, algorithm.n_voxels)
        inside = voxels[competing]
        fibres = lobe_directions(fods[inside], peaks[inside, 0])
        if torch.equal(voxels, before):
            break
        response = _fit(signals, table, voxels, fibres, degree=degree if i else 4, on_shell=on_shell)
        wider = _best(likeness, competing, 10 * algorithm.n_voxels).cpu().numpy()
        competing = mask & torch.from_numpy(binary_dilation(wider)).to(mask.device)
    return voxels, fibres


def _best(values: Tensor, among: Tensor, n: int) -> Tensor:
    """Return the mask (...) of the `n` highest `values` (V,), one for each voxel of the mask `among`."""
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[values.topk(min(n, len(values))).indices] = True
    out = torch.zeros_like(among)
    out[among] = chosen
    return out


def _strongest_direction(tensors: Tensors) -> Tensor:
    """Return the eigenvectors (V, 3) of the largest |eigenvalue| (noise makes some negative), as MRtrix."""
    squared = tensors.diffusivity @ tensors.diffusivity
    return Tensors(squared, tensors.s0).principal_direction

r"""Rough size and direction of a shape from its signal, to start a fit from.

In the Gaussian phase approximation a closed domain attenuates by

    ln S/S(0) = −2q² Σₙ Bₙ/λₙ² (λₙδ − 1 + e^{−λₙδ} + e^{−λₙΔ}(1 − cosh λₙδ))

with λₙ the decay rates of its modes and Bₙ their shares of the variance of position along the gradient
(Murday and Cotts, J. Chem. Phys. 48, 4938 (1968)). The axis is that of the largest variance; length and
radius are those of the cylinder that fits best, found on a grid.
"""

from __future__ import annotations

import math

import torch
from scipy.special import jnp_zeros
from torch import Tensor

from ..acquisition import Acquisition
from ..shape.base import Extent

_TRUSTED = 0.3
"""Attenuation above which the Gaussian phase approximation is used; below, noise and higher moments rule."""

_LENGTHS = torch.logspace(math.log10(1.5), math.log10(80), 40, dtype=torch.float64)
_RADII = torch.logspace(math.log10(0.4), math.log10(15), 40, dtype=torch.float64)
"""µm; steps of 10 %, which a fit makes good at once."""

_N_MODES = 6


def estimate_extent(
    attenuation: Tensor, acquisition: Acquisition, *, diffusivity: float, volume: float | None
) -> Extent:
    """Return the extent of the cylinder that explains the weakly attenuated part of a signal.

    Parameters
    ----------
    attenuation : (N,) Tensor
        S/S(0).
    acquisition : Acquisition
        Its protocol.
    diffusivity : float
        Mean diffusivity, µm²/ms.
    volume : float or None
        µm³; where it is known the radius follows from it and the length.
    """
    rows = _usable(attenuation, acquisition)
    level = attenuation[rows].clamp(min=1e-3)
    q = acquisition.wave_vectors.detach()[rows]
    axis = _longest_axis(level, q * acquisition.small_delta[rows, None])
    along = (q @ axis).square()
    across = q.square().sum(1) - along
    timing = (acquisition.small_delta[rows], acquisition.big_delta[rows])
    slab = _exponent(*_slab_modes(_LENGTHS, diffusivity), *timing) * along
    disc = _exponent(*_disc_modes(_RADII, diffusivity), *timing) * across
    misfit = (torch.exp(-slab[:, None] - disc) - level).square().sum(2)
    lengths, radii = torch.meshgrid(_LENGTHS, _RADII, indexing="ij")
    unlikely = lengths < 2 * radii
    if volume is not None:
        # the nearest of the grid's radii to the one that the volume leaves
        unlikely = unlikely | (radii / (volume / (math.pi * lengths)).sqrt()).log().abs().gt(0.06)
    best = int(torch.where(unlikely, math.inf, misfit).argmin())
    length, radius = float(lengths.ravel()[best]), float(radii.ravel()[best])
    if volume is not None:
        radius = math.sqrt(volume / (math.pi * length))
    return Extent(length, radius, axis)


def _usable(attenuation: Tensor, acquisition: Acquisition) -> Tensor:
    strength = (acquisition.wave_vectors.detach() * acquisition.small_delta[:, None]).norm(dim=1)
    usable: Tensor = (strength > 0) & (attenuation > _TRUSTED)
    if int(usable.sum()) < 6:
        # too strongly weighted throughout: the six weakest measurements still order the directions
        usable = torch.zeros_like(usable)
        usable[torch.where(strength > 0, strength, math.inf).argsort()[:6]] = True
    return usable


def _longest_axis(level: Tensor, wound: Tensor) -> Tensor:
    """Return the direction in which −ln S/(qδ)² is largest, by a weighted tensor fit."""
    x, y, z = wound.unbind(1)
    design = torch.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], dim=1)
    # rows weighted by the signal: the variance of its logarithm is that of the noise over its square
    solution = torch.linalg.lstsq(
        design * level[:, None], (-level.log() * level)[:, None], driver="gelsd"
    ).solution
    xx, yy, zz, xy, xz, yz = solution[:, 0]
    tensor = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz]).view(3, 3)
    axis: Tensor = torch.linalg.eigh(tensor).eigenvectors[:, 2]
    return axis


def _slab_modes(lengths: Tensor, diffusivity: float) -> tuple[Tensor, Tensor]:
    """Return shares B (K, n), µm², and rates λ (K, n), 1/ms, across slabs."""
    n = 2 * torch.arange(_N_MODES, dtype=torch.float64) + 1
    size = lengths[:, None]
    return 8 * size**2 / (math.pi * n) ** 4, diffusivity * (math.pi * n / size) ** 2


def _disc_modes(radii: Tensor, diffusivity: float) -> tuple[Tensor, Tensor]:
    """Return shares B (K, n), µm², and rates λ (K, n), 1/ms, across discs."""
    root = torch.from_numpy(jnp_zeros(1, _N_MODES))
    size = radii[:, None]
    return 2 * size**2 / (root**2 * (root**2 - 1)), diffusivity * (root / size) ** 2


def _exponent(share: Tensor, rate: Tensor, small_delta: Tensor, big_delta: Tensor) -> Tensor:
    """Return −ln S/S(0) over q² (K, N), µm² ms², of modes (K, n) for timings (N,), ms."""
    rate, share = rate[:, None], share[:, None]
    delta, Delta = small_delta[:, None], big_delta[:, None]
    # the product e^{−λΔ} cosh λδ written so that neither factor overflows
    echo = (
        torch.exp(-rate * Delta)
        - (torch.exp(-rate * (Delta - delta)) + torch.exp(-rate * (Delta + delta))) / 2
    )
    return (2 * share / rate**2 * (rate * delta - 1 + torch.exp(-rate * delta) + echo)).sum(2)

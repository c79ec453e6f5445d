r"""Rough size and direction of a shape from its signal, to start a fit from.

In the Gaussian phase approximation a closed domain attenuates by

    ln S/S(0) = −2q² Σₙ Bₙ/λₙ² (λₙδ − 1 + e^{−λₙδ} + e^{−λₙΔ}(1 − cosh λₙδ))

with λₙ the decay rates of its modes and Bₙ their shares of the variance of position along the gradient
(Murday and Cotts, J. Chem. Phys. 48, 4938 (1968)). The axis is that of the largest variance; length and
radius are those of the cylinder that fits best, by trial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.special import jnp_zeros
from torch import Tensor

from ..acquisition import Acquisition
from ..shape.base import Extent

_TRUSTED = 0.3
"""Attenuation above which the Gaussian phase approximation is used; below, noise and higher moments rule."""

_SHORTEST, _LONGEST = 1.5, 80.0
_THINNEST, _WIDEST = 0.4, 15.0
"""µm; sizes that are looked at where no volume bounds them."""

_N_SIZES = 40
"""Sizes that are tried, 10 % apart; a second grid lies between the neighbours of the best length."""

_ERROR = 5e-3
"""Error of the approximation over S(0), below which it does not tell two radii apart."""

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
    weighting = _Weighting(
        along, across, acquisition.small_delta[rows], acquisition.big_delta[rows], diffusivity
    )
    if volume is None:
        return Extent(*_free_cylinder(level, weighting), axis)
    return Extent(*_cylinder_of_volume(volume, level, weighting), axis)


@dataclass(frozen=True, eq=False)
class _Weighting:
    """q² along and across the axis, (rad/(µm ms))², δ and Δ, ms, all (N,), and the diffusivity, µm²/ms."""

    along: Tensor
    across: Tensor
    small_delta: Tensor
    big_delta: Tensor
    diffusivity: float

    def of_lengths(self, lengths: Tensor) -> Tensor:
        """Return −ln S/S(0) (K, N) between walls `lengths` (K,) µm apart."""
        modes = _slab_modes(lengths, self.diffusivity)
        return _exponent(*modes, self.small_delta, self.big_delta) * self.along

    def of_radii(self, radii: Tensor) -> Tensor:
        """Return −ln S/S(0) (K, N) across cylinders of `radii` (K,), µm."""
        modes = _disc_modes(radii, self.diffusivity)
        return _exponent(*modes, self.small_delta, self.big_delta) * self.across


def _cylinder_of_volume(volume: float, level: Tensor, weighting: _Weighting) -> tuple[float, float]:
    # no shorter than wide: L³ ≥ 4V/π
    shortest = (4 * volume / math.pi) ** (1 / 3)
    lengths = _spread(shortest, max(_LONGEST, 4 * shortest), 10 * _N_SIZES)
    radii = (volume / (math.pi * lengths)).sqrt()
    attenuation = torch.exp(-weighting.of_lengths(lengths) - weighting.of_radii(radii))
    best = int((attenuation - level).square().sum(1).argmin())
    return float(lengths[best]), float(radii[best])


def _free_cylinder(level: Tensor, weighting: _Weighting) -> tuple[float, float]:
    """Return length and radius of the widest cylinder that explains `level`.

    A thin shape hardly attenuates across, and many radii explain the same signal. From too wide a start a fit
    finds the true radius; from too thin a one it bends the tube where it should widen it.
    """
    radii, lengths = _spread(_THINNEST, _WIDEST, _N_SIZES), _spread(_SHORTEST, _LONGEST, _N_SIZES)
    coarse, _ = _best_length(lengths, radii, level, weighting)
    fine = _spread(
        float(lengths[max(coarse - 1, 0)]), float(lengths[min(coarse + 1, _N_SIZES - 1)]), _N_SIZES // 2
    )
    best, misfit = _best_length(fine, radii, level, weighting)
    explained = misfit <= misfit.min() + _ERROR**2
    return float(fine[best]), float(radii[explained].max())


def _best_length(lengths: Tensor, radii: Tensor, level: Tensor, weighting: _Weighting) -> tuple[int, Tensor]:
    """Return the best of `lengths`, and the mean-square misfit of every one of `radii` (K,) with it."""
    exponent = weighting.of_lengths(lengths)[:, None] + weighting.of_radii(radii)
    misfit = (torch.exp(-exponent) - level).square().mean(2)
    misfit = torch.where(lengths[:, None] < 2 * radii, math.inf, misfit)
    best = int(misfit.min(1).values.argmin())
    return best, misfit[best]


def _spread(least: float, most: float, count: int) -> Tensor:
    return torch.logspace(math.log10(least), math.log10(most), count, dtype=torch.float64)


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

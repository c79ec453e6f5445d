"""Functions along an axon that say all of its shape: centreline, radius and turn of its sections, and size.

A section at s in [0, 1] of an axon along z is the image of a plane figure under

    p ↦ D (c(s) + r(s) Rot(θ(s)) p),   D = diag(eᵃ, eᵇ),   z = eˡ (s − 1/2),

so that centreline c, radius r and turn θ are without unit and the size (a, b, l) has all lengths, log(µm).

Each of c₁, c₂, u and v is a cubic spline with control values that are unbounded coefficients. r = (u + √(u² +
4ε))/2 is positive for all of them, and nearly u where that is, so that beads A sin(2πns) and cones are plain
in u. dθ/ds = π tanh(v/π) stays below half a turn from end to end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..spline import spline_matrix

N_CONTROL = 48
"""Control values of each spline: sin(2πns) within 0.0014 in the mean at n = 8."""

N_COEFFICIENTS = 4 * N_CONTROL + 3

_STEEPEST = math.pi
"""Bound of |dθ/ds|, rad."""

_SOFTNESS = 0.02
"""ε: u = r − ε/r."""

_GAUSS = 0.5 - 12**-0.5, 0.5 + 12**-0.5
"""Where in a layer dθ/ds is taken for its mean, exact for cubics."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Values at the n + 1 ends of n layers.

    Attributes
    ----------
    centre : (n + 1, 2) Tensor
        c, without unit.
    radius : (n + 1,) Tensor
        r > 0, without unit.
    turn : (n,) Tensor
        Increase of θ over each layer, rad, less than π/n in size. θ starts at 0.
    size : (3,) Tensor
        (a, b, l), log(µm).
    """

    centre: Tensor
    radius: Tensor
    turn: Tensor
    size: Tensor

    def sections(self, figure: Tensor) -> Tensor:
        """Return the images (n + 1, points, 3), µm, of the plane `figure` (points, 2)."""
        angle = torch.cat([self.turn.new_zeros(1), self.turn.cumsum(0)])[:, None]
        cos, sin = self.radius[:, None] * angle.cos(), self.radius[:, None] * angle.sin()
        x, y = figure.to(self.radius).unbind(1)
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=2)
        across = self.size[:2].exp() * (self.centre[:, None] + turned)
        s = torch.linspace(-0.5, 0.5, len(self.radius), dtype=across.dtype, device=across.device)
        along = self.size[2].exp() * s[:, None, None].expand(-1, len(figure), 1)
        return torch.cat([across, along], dim=2)


def steepest_turn(n_layers: int) -> float:
    """Return the bound, rad, of the turn over one of `n_layers` layers."""
    return _STEEPEST / n_layers


def radius_of(radial: Tensor) -> Tensor:
    """Return r > 0 of u."""
    return (radial + (radial.square() + 4 * _SOFTNESS).sqrt()) / 2


def turn_of(slope: Tensor, n_layers: int) -> Tensor:
    """Return the turn, rad, over one of `n_layers` layers in which v is `slope`."""
    return steepest_turn(n_layers) * torch.tanh(slope / _STEEPEST)


def from_coefficients(coefficients: Tensor, n_layers: int) -> Channels:
    """Return the channels of `coefficients` (195,), differentiable."""
    at_ends, at_gauss = (matrix.to(coefficients) for matrix in spline_matrices(n_layers))
    x, y, u, v, size = split(coefficients)
    turns = turn_of(at_gauss @ v, n_layers)
    return Channels(
        centre=at_ends @ torch.stack([x, y], dim=1),
        radius=radius_of(at_ends @ u),
        turn=turns.view(n_layers, 2).mean(1),
        size=size,
    )


def split(coefficients: Tensor) -> tuple[Tensor, ...]:
    """Return the control values of c₁, c₂, u and v, (48,) each, and the size (3,)."""
    parts: tuple[Tensor, ...] = coefficients.split([N_CONTROL] * 4 + [3])
    return parts


def from_sections(sections: Tensor, figure: Tensor) -> Channels:
    """Return the channels whose sections are nearest to `sections` (n + 1, points, 3), µm.

    Every section is fitted by an affine image of `figure` (points, 2), which has its mean in the origin. Of
    the image's matrix, D r Rot(θ), the rows have the lengths eᵃr and eᵇr. The mean of r is 1.
    """
    across = sections[..., :2]
    centre = across.mean(1)
    images = (torch.linalg.pinv(figure) @ (across - centre[:, None])).transpose(1, 2)
    lengths = images.norm(dim=2)
    radius = lengths.prod(1).sqrt()
    mean = torch.trapezoid(radius) / (len(radius) - 1)
    stretch = (lengths / radius[:, None]).log().mean(0).exp() * mean
    upright = images / stretch[:, None]
    angle = torch.atan2(upright[:, 1, 0] - upright[:, 0, 1], upright[:, 0, 0] + upright[:, 1, 1])
    heights = sections[..., 2].mean(1)
    return Channels(
        centre=centre / stretch,
        radius=radius / mean,
        turn=torch.remainder(angle.diff() + math.pi, 2 * math.pi) - math.pi,
        size=torch.cat([stretch, heights[-1:] - heights[:1]]).log(),
    )


def observed(channels: Channels) -> Tensor:
    """Return what is linear in the coefficients (4n + 6,): c₁, c₂, u at ends, v in layers, size."""
    n_layers = len(channels.turn)
    radial = channels.radius - _SOFTNESS / channels.radius
    # no more than 0.999 of the bound: a mesh that is not one of ours may turn by any angle
    share = (channels.turn / steepest_turn(n_layers)).clamp(-0.999, 0.999)
    return torch.cat([*channels.centre.unbind(1), radial, _STEEPEST * torch.atanh(share), channels.size])


@cache
def observation_matrix(n_layers: int) -> Tensor:
    """Return the matrix (4n + 6, 195) from coefficients to `observed`."""
    at_ends, at_gauss = spline_matrices(n_layers)
    in_layers = at_gauss.view(n_layers, 2, N_CONTROL).mean(1)
    blocks = at_ends, at_ends, at_ends, in_layers, torch.eye(3, dtype=torch.float64)
    matrix: Tensor = torch.block_diag(*blocks)
    return matrix


@cache
def spline_matrices(n_layers: int) -> tuple[Tensor, Tensor]:
    """Return the matrices from control values to the ends (n + 1, 48) and to Gauss points (2n, 48)."""
    starts = torch.arange(n_layers, dtype=torch.float64)[:, None]
    inside = (starts + starts.new_tensor(_GAUSS)) / n_layers
    ends = torch.linspace(0, 1, n_layers + 1, dtype=torch.float64)
    return spline_matrix(N_CONTROL, ends), spline_matrix(N_CONTROL, inside.ravel())

"""`Relatives`: axons of the kind of one that a `Sweep` was learned from, of another length and size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ..base import AbstractShape, Extent
from .channels import Channels, radius_of, split, turn_of
from .window import continued

SHORTEST, LONGEST = 0.2, 1.35
"""Share of the axon that a relative is of: from a few periods of its form to more than it has."""

_USUAL = 0.25, 1.25
"""Shares that starts are drawn from."""

_NODES = 64
"""Chebyshev nodes in the share: seven beads over a length of one turn by 45 rad between its bounds."""

_PLAINER = 0.7
"""Emphasis that starts have: a little plainer than the axon itself."""

_LEAST_RADIUS = 0.05
"""Of its mean, at which a relative is as good as folded."""

_MOST_EMPHASIS = 2.0

_LOOSENESS = 0.5
"""Of the emphasis about one."""


@dataclass(frozen=True, eq=False)
class Relatives(AbstractShape):
    """A part of one axon from its lower end, stretched to any size, with its form plainer or more marked.

    The latent (5,) is the size (a, b, l) of `Channels`, the emphasis by which centreline, turn and what the
    radius differs from its mean are multiplied, and the share of the axon's length, from 0.2 to 1.35. Beyond
    the end it goes on as its point reflection there. Beads of one count are so related to those of any other.

    Parameters
    ----------
    coefficients : (195,) Tensor
        Of the axon.
    section : (points, 2) Tensor
        The plane figure that is swept.
    connectivity : (T, 4) Tensor
        Tets of the sweep.
    n_layers : int
        Layers of cells along z.
    """

    coefficients: Tensor
    section: Tensor
    connectivity: Tensor
    n_layers: int

    @property
    def n_latent(self) -> int:
        """Number of parameters, five."""
        return 5

    @property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), the same for every latent."""
        return self.connectivity

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (5,), differentiable, with their mean in the origin."""
        vertices = self._channels(latent).sections(self.section).reshape(-1, 3)
        return vertices - vertices.mean(0)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Not offered: a fit goes from here to a larger model, never back."""
        raise NotImplementedError("Relatives: a shape model to start from, vertices have no latent in it")

    def fold_margin(self, latent: Tensor) -> float:
        """Return how far the radius is from vanishing, or the latent from its bounds, whichever is nearer."""
        latent = latent.detach()
        emphasis, share = float(latent[3]), float(latent[4])
        bounds = share - SHORTEST, LONGEST - share, _MOST_EMPHASIS - abs(emphasis)
        if min(bounds) <= 0:
            return min(bounds)
        return min(float(self._channels(latent).radius.min()) - _LEAST_RADIUS, *bounds)

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return no residuals (0,): steps end at the margin."""
        return latent.new_zeros(0)

    def gauge(self, latent: Tensor) -> Tensor:
        """Return no residuals (0,): the shapes are centred."""
        return latent.new_zeros(0)

    def roughness(self, latent: Tensor) -> Tensor:
        """Return how much plainer or more marked the form is than that of the axon (1,)."""
        return (latent[3:4] - 1) / _LOOSENESS

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the axon in the size of `extent`, a little plainer.

        With a `generator` a random share of it, and as often in its own proportions, with the volume of
        `extent`: a wide fan is no cylinder.
        """
        across, along = math.log(extent.radius), math.log(extent.length)
        if generator is None:
            return self.coefficients.new_tensor([across, across, along, _PLAINER, 1.0])
        place, kind = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        share = _USUAL[0] + (_USUAL[1] - _USUAL[0]) * place
        form = self.coefficients.new_tensor([_PLAINER, share])
        if kind < 0.5:
            return torch.cat([self.coefficients.new_tensor([across, across, along]), form])
        size = split(self.coefficients)[-1] + self.coefficients.new_tensor([0, 0, math.log(share)])
        latent = torch.cat([size, form])
        volume = float(self.mesh(latent).volume)
        latent[:3] += math.log(math.pi * extent.radius**2 * extent.length / volume) / 3
        return latent

    def _channels(self, latent: Tensor) -> Channels:
        n, (emphasis, share) = self.n_layers, latent[3:]
        x, y, u, v, _ = split(self.coefficients.to(latent))
        at_ends, at_middles = _tables(n)
        weights = _chebyshev((2 * share - (SHORTEST + LONGEST)) / (LONGEST - SHORTEST))
        odd = torch.einsum("k,klc->lc", weights, at_ends.to(latent))
        even = torch.einsum("k,klc->lc", weights, at_middles.to(latent))
        radius = radius_of(odd @ u)
        mean = torch.trapezoid(radius) / n
        return Channels(
            centre=emphasis * (odd @ torch.stack([x, y], dim=1)) / mean,
            radius=1 + emphasis * (radius / mean - 1),
            turn=turn_of(emphasis * share * (even @ v), n),
            size=latent[:3],
        )


def _chebyshev(place: Tensor) -> Tensor:
    """Return T₀, T₁, … (64,) at `place`, inside (-1, 1)."""
    return torch.cos(torch.arange(_NODES).to(place) * place.acos())


@cache
def _tables(n_layers: int) -> tuple[Tensor, Tensor]:
    """Return what Chebyshev polynomials of the share multiply (·, n + 1 | n, 48).

    From control values to odd continuations at the ends of layers, and to even ones at their middles.
    """
    angles = (torch.arange(_NODES, dtype=torch.float64) + 0.5) * (math.pi / _NODES)
    shares = (SHORTEST + LONGEST) / 2 + (LONGEST - SHORTEST) / 2 * angles.cos()
    transform = torch.cos(torch.arange(_NODES)[:, None] * angles) * (2 / _NODES)
    transform[0] /= 2
    ends = torch.linspace(0, 1, n_layers + 1, dtype=torch.float64)
    middles = (ends[1:] + ends[:-1]) / 2
    odd = torch.stack([continued(share * ends)[0] for share in shares])
    even = torch.stack([continued(share * middles)[1] for share in shares])
    return torch.einsum("kn,nlc->klc", transform, odd), torch.einsum("kn,nlc->klc", transform, even)

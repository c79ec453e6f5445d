"""`StraightCylinder`: length and radius of a straight cylinder along z, the simplest model of an axon."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError
from ..mesh import TetMesh, cylinder, tet_volumes
from .base import AbstractShape, Extent

_START_SPREAD = 0.2
"""Standard deviation of the logarithms of length and radius of a random start."""


def _unit_cylinder() -> TetMesh:
    return cylinder(1.0, 2.0, n_rings=2, n_layers=8)


@dataclass(frozen=True, kw_only=True, eq=False)
class StraightCylinder(AbstractShape):
    """A template along z, scaled along and across; the latent (2,) is log(length / µm), log(radius / µm).

    Centred on the origin. The radius is that of the circle with the area of the cross-section, so a
    prism on a polygon serves as well.

    Parameters
    ----------
    template : TetMesh
        A cylinder or prism along z, of any size, without inverted tets.

    Raises
    ------
    InputError
        When the template is inverted.
    """

    template: TetMesh = field(default_factory=_unit_cylinder)

    def __post_init__(self) -> None:
        if not bool((self.template.volumes > 0).all()):
            raise InputError("StraightCylinder: the template has an inverted tet, expected none")
        _ = self._unit

    @cached_property
    def _unit(self) -> Tensor:
        """Template vertices (V, 3) with length and radius 1, centred."""
        rest = self.template.vertices.detach().double()
        length, radius = self.latent_of(rest).exp().tolist()
        return (rest - _middle(rest)) / rest.new_tensor([radius, radius, length])

    @property
    def n_latent(self) -> int:
        """Number of parameters, 2."""
        return 2

    @property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), that of the template."""
        return self.template.tets

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (2,), differentiable."""
        if latent.shape != (2,):
            raise InputError(f"StraightCylinder: latent has shape {tuple(latent.shape)}, expected (2,)")
        length, radius = latent.exp().unbind()
        return self._unit.to(latent) * torch.stack([radius, radius, length])

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (2,) of the cylinder with the height and the volume of `vertices` (V, 3)."""
        z = vertices[:, 2]
        length = z.max() - z.min()
        area = tet_volumes(vertices, self.tets).sum() / length
        return torch.stack([length, (area / math.pi).sqrt()]).log()

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the length and radius of the extent, or with a `generator` some that differ at random."""
        latent = torch.tensor([extent.length, extent.radius], dtype=torch.float64).log()
        if generator is None:
            return latent
        return latent + _START_SPREAD * torch.randn(2, generator=generator, dtype=torch.float64)

    def fold_margin(self, latent: Tensor) -> float:
        """Return 1: a scaled template never folds."""
        return 1.0

    def gauge(self, latent: Tensor) -> Tensor:
        """Return the mean of the vertices (3,), µm: zero whatever the latent."""
        mean: Tensor = self.vertices(latent).mean(0)
        return mean

    def roughness(self, latent: Tensor) -> Tensor:
        """Return no residual: it is always straight."""
        return latent[:0]

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return no residual."""
        return latent[:0]


def _middle(vertices: Tensor) -> Tensor:
    middle: Tensor = (vertices.amax(0) + vertices.amin(0)) / 2
    return middle

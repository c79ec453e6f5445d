"""What every shape model offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mesh import TetMesh


@dataclass(frozen=True, eq=False)
class Extent:
    """Rough size of a shape: `length` and `radius`, µm, and its long `axis`, a (3,) unit vector."""

    length: float
    radius: float
    axis: Tensor


class AbstractShape(ABC):
    """A differentiable map from a latent (P,) to vertices (V, 3), µm, of a mesh with fixed connectivity."""

    @property
    def start_margin(self) -> float:
        """Fold margin at and below which a shape is no place to start a fit from."""
        return 0.0

    @property
    def n_candidates(self) -> int:
        """Usual number of random shapes of which a start of a fit takes one."""
        return 3

    @property
    @abstractmethod
    def n_latent(self) -> int:
        """Number of parameters P."""

    @property
    @abstractmethod
    def tets(self) -> Tensor:
        """Connectivity (T, 4), the same for every latent."""

    @abstractmethod
    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (P,), differentiable."""

    @abstractmethod
    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (P,) of the shape nearest to `vertices` (V, 3), µm, in the order of its mesh."""

    @abstractmethod
    def fold_margin(self, latent: Tensor) -> float:
        """Return a number that is positive while the shape does not fold."""

    @abstractmethod
    def gauge(self, latent: Tensor) -> Tensor:
        """Return residuals (·,) of what no signal can see, to be kept small."""

    @abstractmethod
    def roughness(self, latent: Tensor) -> Tensor:
        """Return dimensionless residuals (·,) that measure how rough the shape is."""

    @abstractmethod
    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return residuals (·,) that are zero far from a fold and grow on the way to it."""

    @abstractmethod
    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return a latent (P,) to start from, plain without a `generator` and varied at random with one."""

    @property
    def n_relatives(self) -> int:
        """Number of models that `relatives` has."""
        return 0

    def relatives(self, index: int) -> AbstractShape:
        """Return one of the models of few parameters, around one known shape each, to start a fit with."""
        raise IndexError(f"{type(self).__name__} has no relatives, asked for {index}")

    def carried(self, other: AbstractShape, latent: Tensor) -> Tensor:
        """Return the latent (P,) of the shape nearest to that of `latent` in `other`, of the same mesh."""
        return self.latent_of(other.vertices(latent).detach())

    def mesh(self, latent: Tensor) -> TetMesh:
        """Return the mesh of `latent` (P,); gradients flow from its vertices to the latent."""
        return TetMesh(self.vertices(latent), self.tets)

"""`Spectral`: the smoothest displacements of a template."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..mesh.quality import edge_lengths
from .base import Extent
from .graph import graph_modes
from .template import TemplateShape, straight

_START_NOISE = 0.1
"""Standard deviation of the coefficients of a random start, over the radius and the root of their number."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectral(TemplateShape):
    """Displacements of a template as the lowest modes of its graph Laplacian, without any training.

    vertices = template + √V Σ φₖ zₖ, with φₖ (V,) orthonormal eigenvectors. The latent z (3K,) holds x y z of
    each coefficient, µm: |z| is the root mean square displacement. The first mode is a translation.
    Karni and Gotsman, Spectral compression of mesh geometry, SIGGRAPH 2000.

    Parameters
    ----------
    template : TetMesh
        µm, without inverted tets.
    n_modes : int
        K, 1 to V.
    """

    n_modes: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        # built here because a table cannot be made inside a function transform that first asks for it
        _ = self._modes, self._mean_edge

    @property
    def n_latent(self) -> int:
        """Number of parameters P = 3K."""
        return 3 * self.n_modes

    @cached_property
    def _modes(self) -> tuple[Tensor, Tensor]:
        values, vectors = graph_modes(self.template, self.n_modes)
        return values, vectors * self.template.n_vertices**0.5

    @cached_property
    def _mean_edge(self) -> float:
        return float(edge_lengths(self.template).detach().mean())

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (3K,), differentiable."""
        self._check(latent)
        return self._rest + self._modes[1] @ latent.view(-1, 3)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (3K,) whose shape is nearest to `vertices` (V, 3), µm."""
        latent: Tensor = self._modes[1].T @ (vertices - self._rest) / self.template.n_vertices
        return latent.ravel()

    def gauge(self, latent: Tensor) -> Tensor:
        """Return the mean displacement (3,), µm: signals do not see position."""
        return latent[:3]

    def roughness(self, latent: Tensor) -> Tensor:
        """Return λz over the mean edge (3K,): as large as that of `Vertices` for the same displacement."""
        rough: Tensor = (self._modes[0][:, None] * latent.view(-1, 3)).ravel() / self._mean_edge
        return rough

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the straight template of the given size along z, or with a `generator` a disturbed one."""
        latent = self.latent_of(straight(self.template, extent))
        if generator is None:
            return latent
        size = _START_NOISE * extent.radius / self.n_latent**0.5
        noise = size * torch.randn(self.n_latent, generator=generator, dtype=torch.float64)
        noise[:3] = 0
        disturbed: Tensor = latent + noise
        return disturbed

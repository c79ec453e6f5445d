r"""`Vertices`: every vertex of a template is free, and a Laplacian preconditioner ties neighbours together.

With L the graph Laplacian of the mesh edges and α the smoothing, the displacement of the template is w =
(I + αL)⁻¹u. A gradient step in u is a step in w with (I + αL)⁻², so the mesh moves smoothly and yet any w
can be reached. Nicolet, Jacobson and Jakob, Large steps in inverse rendering of geometry, ACM Trans.
Graph. 40, 6 (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_array, eye_array
from scipy.sparse.linalg import splu
from torch import Tensor

from ..errors import InputError
from ..mesh.quality import edge_lengths
from .base import Extent
from .frame import any_normal
from .graph import graph_laplacian
from .template import TemplateShape

_START_BEND = 0.2
"""Standard deviation of the sideways offset of a random start, over the length."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Vertices(TemplateShape):
    """A template whose vertices all move: vertices = template + (I + αL)⁻¹u.

    The latent u (3V,), µm, holds x y z of each vertex; zero is the template. The baseline of vertex-wise
    descent: it knows nothing of axons, and its mesh folds where a vertex is pulled through its
    neighbours.

    Parameters
    ----------
    template : TetMesh
        Without inverted tets, µm.
    smoothing : float
        α > 0, dimensionless; a bump is spread over about sqrt(α) edges.

    Raises
    ------
    InputError
        When the template has an inverted tet or the smoothing is not positive.
    """

    smoothing: float = 16.0

    def __post_init__(self) -> None:
        if not (self.smoothing > 0 and math.isfinite(self.smoothing)):
            raise InputError(f"Vertices: smoothing is {self.smoothing}, expected a positive number")
        super().__post_init__()
        # built here because a table cannot be made inside a function transform that first asks for it
        _ = self._solve, self._mean_edge

    @property
    def start_margin(self) -> float:
        """Half way to a fold."""
        return 0.5

    @property
    def n_latent(self) -> int:
        """Number of parameters P = 3V."""
        return 3 * self.template.n_vertices

    @cached_property
    def _mean_edge(self) -> float:
        return float(edge_lengths(self.template).detach().mean())

    @cached_property
    def _matrix(self) -> csc_array:
        """I + αL."""
        return csc_array(
            eye_array(self.template.n_vertices) + self.smoothing * graph_laplacian(self.template)
        )

    @cached_property
    def _solve(self) -> Callable[[np.ndarray], np.ndarray]:
        factor = splu(
            self._matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
        )
        return factor.solve  # type: ignore[no-any-return]

    def displacement(self, latent: Tensor) -> Tensor:
        """Return w = (I + αL)⁻¹u (V, 3), µm, of `latent` u (3V,), differentiable."""
        self._check(latent)
        return _Solve.apply(latent.view(-1, 3), self._solve)  # type: ignore[no-any-return]

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (3V,), differentiable."""
        return self._rest.to(latent) + self.displacement(latent)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent u = (I + αL)w (3V,) whose vertices are `vertices` (V, 3), µm."""
        displacement = (vertices.detach().double() - self._rest).cpu().numpy()
        return torch.from_numpy(self._matrix @ displacement).ravel().to(vertices.device)

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the template stretched and turned to the given extent, or with a `generator` bent as well.

        The long axis of the template becomes that of the extent and takes its length; across it the template
        is scaled to the volume of a cylinder of that length and radius.
        """
        frame, along, across = _principal_axes(self._rest)
        length = float(along.max() - along.min())
        area = float(self._template_volumes.sum()) / length
        wider = extent.radius * math.sqrt(math.pi / area)
        along = (along - (along.max() + along.min()) / 2) / length
        axis = extent.axis.to(self._rest)
        first = any_normal(axis)
        sideways = torch.stack([first, torch.linalg.cross(axis, first)])
        # the two frames are both right-handed or both not, so that no tet is turned inside out
        sideways[1] = sideways[1] * torch.linalg.det(frame).sign()
        moved = extent.length * along[:, None] * axis + wider * across @ sideways
        if generator is not None:
            offset = _START_BEND * extent.length * torch.randn(2, 2, generator=generator, dtype=torch.float64)
            s = (along + 0.5).clamp(0, 1)
            weights = torch.stack([3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s)], dim=1)
            moved = moved + weights @ offset @ sideways
        return self.latent_of(moved)

    def gauge(self, latent: Tensor) -> Tensor:
        """Return the mean displacement (3,), µm: signals do not see position."""
        mean: Tensor = self.displacement(latent).mean(0)
        return mean

    def roughness(self, latent: Tensor) -> Tensor:
        """Return the graph Laplacian of the displacement over the mean edge and the root of V, (3V,)."""
        # Lw = (u − w)/α
        laplacian = (latent.view(-1, 3) - self.displacement(latent)) / self.smoothing
        scaled: Tensor = laplacian.ravel() / (self._mean_edge * self.template.n_vertices**0.5)
        return scaled


class _Solve(torch.autograd.Function):
    """Solve with a symmetric matrix: right (V, k) ↦ A⁻¹right, for reverse and forward mode and under vmap."""

    @staticmethod
    def forward(right: Tensor, solve: Callable[[np.ndarray], np.ndarray]) -> Tensor:
        return torch.as_tensor(solve(right.detach().double().cpu().numpy())).to(right)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.solve = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Solve.apply(gradient, ctx.solve), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return _Solve.apply(tangent, ctx.solve)  # type: ignore[no-any-return]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, None], right: Tensor, solve: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[Tensor, int | None]:
        if in_dims[0] is None:
            return _Solve.apply(right, solve), None
        batched = right.movedim(in_dims[0], -1)
        solved = _Solve.apply(batched.reshape(len(batched), -1), solve)
        return solved.view(batched.shape), batched.ndim - 1


def _principal_axes(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the frame (3, 3), longest row first, and coordinates (V,) along it and (V, 2) across."""
    centred = points - points.mean(0)
    frame = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1).T
    coordinates = centred @ frame.T
    return frame, coordinates[:, 0], coordinates[:, 1:]

"""`Sweep`: axons as stacks of sections whose channels a learned linear map takes from a few latents."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from ...autodiff import jacobian
from ...errors import InputError
from ...mesh import disc, polygon, prism, sweep_connectivity
from ..base import AbstractShape, Extent
from ..learned import MANY_CODES
from ..weights import Weights, read_weights, template_hash, write_weights
from .channels import (
    N_COEFFICIENTS,
    Channels,
    from_coefficients,
    from_sections,
    observation_matrix,
    observed,
    steepest_turn,
)
from .relatives import Relatives

_FAINT = 1e-5
"""Prior of `latent_of`: µm in the root mean square over vertices that one standard deviation is worth."""

_MOST_STEPS = 8
"""Gauss–Newton steps of `latent_of`; three are usual."""

_STILL = 1e-3
"""Relative gain of a step after which there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep(AbstractShape):
    """Shapes swept along z by a section that shifts, widens and turns, as learned from a family of axons.

    The latent z (P,) is whitened: z ~ N(0, I) over the shapes it was learned from. The coefficients of the
    channels (`torrey.shape.sweep.channels`) are mean + basis z. No latent whatever folds the mesh: layers are
    moved, scaled by positive factors, and turned against each other by less than any angle of the section's
    triangles. The latents mean the same shape at every resolution.

    Vertices are in canonical pose: the axon along z, their mean in the origin where sections and layers
    are those of the template.

    Parameters
    ----------
    mean : (195,) Tensor
        Of the coefficients.
    basis : (195, P) Tensor
        Columns are what one standard deviation of a latent adds.
    codes : (n, P) Tensor
        Latents of shapes that it was learned from; random starts are drawn among them.
    n_layers : int
        Layers of cells along z, 20 in the template.
    n_sides : int or None
        Sections are polygons (`torrey.mesh.polygon`) with their corners on the surface of the axon. The
        template has 12 sides.
    n_rings : int or None
        Sections are discs (`torrey.mesh.disc`) instead, and chords between layers have no mean error: a
        mesh with the volume of the smooth axon. One of `n_sides` and `n_rings` is None.
    about : mapping of str to Any
        JSON-serialisable facts that travel with the weights: family, settings, errors.

    Raises
    ------
    InputError
        When tensors do not fit together, or the layers are too few for the section: one may turn by more
        than the angle between its edges.
    """

    mean: Tensor
    basis: Tensor
    codes: Tensor
    n_layers: int = 20
    n_sides: int | None = 12
    n_rings: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = tuple(self.mean.shape), tuple(self.basis.shape), tuple(self.codes.shape)
        if shapes != ((N_COEFFICIENTS,), (N_COEFFICIENTS, self.n_latent), (len(self.codes), self.n_latent)):
            raise InputError(
                f"Sweep: mean, basis and codes have shapes {shapes}, "
                f"expected ({N_COEFFICIENTS},), ({N_COEFFICIENTS}, P) and (n, P)"
            )
        if (self.n_sides is None) == (self.n_rings is None):
            raise InputError(
                f"Sweep: n_sides is {self.n_sides} and n_rings is {self.n_rings}, expected one of them"
            )
        # the bound of 12 layers is exactly the angle of 48 sides
        fewest = math.floor(steepest_turn(1) / self._narrowest_angle + 1e-9) + 1
        if self.n_layers < fewest:
            raise InputError(f"Sweep: n_layers is {self.n_layers}, expected at least {fewest}")
        # built here because a table cannot be made inside a function transform that first asks for it
        _ = observation_matrix(self.n_layers), self.tets

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the model in `path`, on the template.

        Raises
        ------
        InputError
            When the weights are of another kind, version or template, or no weights.
        """
        weights = read_weights(path, kind="sweep", template=prism())
        mean, basis, codes = weights.arrays("mean", "basis", "codes")
        return cls(mean=mean, basis=basis, codes=codes, about=weights.about)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned in single precision, whatever the resolution."""
        tensors = {"mean": self.mean.float(), "basis": self.basis.float(), "codes": self.codes.float()}
        write_weights(path, Weights("sweep", template_hash(prism()), tensors, self.about))

    def with_resolution(
        self, *, n_layers: int, n_sides: int | None = None, n_rings: int | None = None
    ) -> Sweep:
        """Return the same shapes on another mesh, of the same cross-section where none is given."""
        if n_sides is None and n_rings is None:
            return replace(self, n_layers=n_layers)
        return replace(self, n_layers=n_layers, n_sides=n_sides, n_rings=n_rings)

    @property
    def n_latent(self) -> int:
        """Number of parameters P."""
        return self.basis.shape[-1]

    @cached_property
    def _section(self) -> tuple[Tensor, Tensor]:
        if self.n_rings is not None:
            return disc(self.n_rings)
        assert self.n_sides is not None
        return polygon(self.n_sides)

    @cached_property
    def _narrowest_angle(self) -> float:
        """Turn, rad, at which a tet between two layers has no volume left.

        Of the three tets of a prism, one has two edges ab and bc of a triangle in different layers. Its
        volume is that of the sine between them, which vanishes when the turn is the angle at b or its
        supplement.
        """
        points, triangles = self._section
        a, b, c = points[triangles.sort(dim=1).values].unbind(1)
        cosine = torch.nn.functional.cosine_similarity(a - b, c - b, dim=1)
        return float(cosine.abs().acos().min())

    @cached_property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), the same for every latent."""
        points, triangles = self._section
        return sweep_connectivity(triangles, len(points), self.n_layers)

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (P,), differentiable."""
        channels = self._channels(latent)
        if self.n_rings is not None:
            channels = _with_vanishing_mean_error(channels)
        return channels.sections(self._section[0]).reshape(-1, 3)

    def _channels(self, latent: Tensor) -> Channels:
        if latent.shape != (self.n_latent,):
            raise InputError(f"Sweep: latent has shape {tuple(latent.shape)}, expected ({self.n_latent},)")
        return from_coefficients(self.mean.to(latent) + self.basis.to(latent) @ latent, self.n_layers)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (P,) whose vertices are nearest to `vertices` (V, 3), µm, in canonical pose.

        Channels are read off section by section and fitted by linear least squares; Gauss–Newton steps on
        the vertices themselves follow, with a prior too faint to be seen in them.
        """
        points, _ = self._section
        expected = (self.n_layers + 1) * len(points), 3
        if vertices.shape != expected:
            raise InputError(f"Sweep: vertices have shape {tuple(vertices.shape)}, expected {expected}")
        target = vertices.detach().double()
        channels = from_sections(target.view(self.n_layers + 1, -1, 3), points)
        matrix = observation_matrix(self.n_layers)
        missing = observed(channels) - matrix @ self.mean
        latent = torch.linalg.lstsq(matrix @ self.basis, missing[:, None]).solution[:, 0]
        return self._nearest(target, latent)

    def _nearest(self, target: Tensor, latent: Tensor) -> Tensor:
        faint = _FAINT * len(target) ** 0.5

        def residual(latent: Tensor) -> Tensor:
            return torch.cat([(self.vertices(latent) - target).ravel(), faint * latent])

        before = residual(latent)
        for _ in range(_MOST_STEPS):
            slope = jacobian(residual, latent).T
            step = torch.linalg.lstsq(slope, -before[:, None]).solution[:, 0]
            after = residual(latent + step)
            gain = 1 - float(after.norm() / before.norm())
            if not gain > 0:
                break
            latent, before = latent + step, after
            if gain < _STILL:
                break
        return latent

    @property
    def n_candidates(self) -> int:
        """As many of `codes` as make one of them likely to be near."""
        return MANY_CODES

    @property
    def n_relatives(self) -> int:
        """One model around each of `codes`."""
        return len(self.codes)

    def relatives(self, index: int) -> Relatives:
        """Return the axons of the kind of code `index`, of any length and size."""
        coefficients = self.mean + self.basis @ self.codes[index]
        return Relatives(coefficients, self._section[0], self.tets, self.n_layers)

    def fold_margin(self, latent: Tensor) -> float:
        """Return 1 minus the largest turn between layers over that which would fold, positive always."""
        turn = self._channels(latent.detach()).turn
        return 1 - float(turn.abs().max()) / self._narrowest_angle

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return no residuals (0,): nothing folds."""
        return latent.new_zeros(0)

    def gauge(self, latent: Tensor) -> Tensor:
        """Return no residuals (0,): the centre is not among the latents."""
        return latent.new_zeros(0)

    def roughness(self, latent: Tensor) -> Tensor:
        """Return the latent (P,) itself: half its square is the negative log of the learned prior."""
        return latent

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the straight axon of the given extent, or with a `generator` one of `codes` of that size.

        In canonical pose: the axis of the extent is not seen.
        """
        if generator is None:
            ends = self.mean.new_zeros(self.n_layers + 1)
            channels = Channels(ends[:, None].expand(-1, 2), ends + 1, ends[1:], self.mean.new_zeros(3))
        else:
            drawn = torch.randint(len(self.codes), (), generator=generator)
            channels = self._channels(self.codes[int(drawn)])
        a, b = channels.size[:2]
        log_radius = math.log(extent.radius) + math.log(math.pi / self._area) / 2
        size = torch.stack(
            [log_radius + (a - b) / 2, log_radius + (b - a) / 2, a.new_tensor(extent.length).log()]
        )
        resized = replace(channels, size=size)
        return self.latent_of(resized.sections(self._section[0]).reshape(-1, 3))

    @property
    def _area(self) -> float:
        points, triangles = self._section
        a, b, c = points[triangles].unbind(1)
        along, across = b - a, c - a
        return float((along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]).sum() / 2)


def _with_vanishing_mean_error(channels: Channels) -> Channels:
    """Move centres and radii so that straight lines between the layers have no mean error, to second order.

    Chords of f(s) with spacing h are off by h²f″/12 in the mean. The radius is divided by 1 + h²r″/(12r),
    which is at least 5/6 for any positive radii.
    """
    centre, radius = channels.centre, channels.radius
    sideways = _with_ends(centre[2:] - 2 * centre[1:-1] + centre[:-2]) / 12
    wider = _with_ends((radius[2:] + radius[:-2]) / radius[1:-1] - 2) / 12
    return replace(channels, centre=centre - sideways, radius=radius / (1 + wider))


def _with_ends(inner: Tensor) -> Tensor:
    return torch.cat([inner[:1], inner, inner[-1:]])

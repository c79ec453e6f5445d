"""`Tube`: an axon as a B-spline centreline with a B-spline log-radius, meshed by a structured sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..mesh import disc, sweep_connectivity
from .base import AbstractShape, Extent
from .frame import rotation_minimising_normals
from .spline import greville, refined_count, refinement_matrix, spline_matrix

_CHECKS_PER_LAYER = 4

_USUAL = 0.3
"""Usual size of r κ and of dr/ds in axons: an undulation or a bead much sharper than that is improbable a
priori."""

_GAUGE_ROWS = 2
"""The rows of uneven speed weigh as much as this many, however many layers there are."""

_START_BEND = 0.2
"""Standard deviation of the sideways offset of inner control points of a random start, over the length."""


class _SplineMatrices(NamedTuple):
    """From control values to values at the layers, (n_layers + 1, K)."""

    centre: Tensor
    slope: Tensor
    bend: Tensor
    radial: Tensor
    radial_slope: Tensor


@cache
def _spline_matrices(n_control: int, n_radius: int, n_layers: int) -> _SplineMatrices:
    s = torch.linspace(0, 1, n_layers + 1, dtype=torch.float64)
    return _SplineMatrices(
        *(spline_matrix(n_control, s, derivative=k) for k in (0, 1, 2)),
        *(spline_matrix(n_radius, s, derivative=k) for k in (0, 1)),
    )


def _with_vanishing_mean_error(layers: Tensor) -> Tensor:
    """Shift `layers` (L + 1, n, 3) so that straight lines between them have no mean error.

    Chords of a curve x(s) with spacing h lie on its inner side by h²x″/12 in the mean. Moved out by that, the
    mesh has the volume and length of the smooth tube to third order in h rather than second.
    """
    if len(layers) < 3:
        return layers
    second = layers[2:] - 2 * layers[1:-1] + layers[:-2]
    return layers - torch.cat([second[:1], second, second[-1:]]) / 12


@dataclass(frozen=True, kw_only=True)
class Tube(AbstractShape):
    """Shapes swept by a disc of varying radius along a curve, with flat closed ends.

    The latent (P,) holds the control points of the centreline, x y z each (µm), then those of log(radius /
    µm). Position and orientation are part of it: pose is estimated, never given.

    Parameters
    ----------
    n_control : int
        Control points of the cubic centreline, at least 4.
    n_radius : int
        Control values of the cubic log-radius, at least 4.
    n_rings, n_layers : int
        Rings of the cross-section and layers along the curve: 3·n_rings·(n_rings + 1) + 1 vertices on each of
        n_layers + 1 sections. The cross-section has the area of the disc.
    """

    n_control: int = 11
    n_radius: int = 19
    n_rings: int = 2
    n_layers: int = 26

    def __post_init__(self) -> None:
        for name, least in (("n_control", 4), ("n_radius", 4), ("n_rings", 1), ("n_layers", 1)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"Tube: {name} is {value}, expected at least {least}")
        # built here because a table cannot be made inside a function transform that first asks for it
        _ = self._at_layers, self._section

    @property
    def start_margin(self) -> float:
        """Half way to a fold."""
        return 0.5

    @property
    def n_latent(self) -> int:
        """Number of parameters P = 3·n_control + n_radius."""
        return 3 * self.n_control + self.n_radius

    @cached_property
    def _section(self) -> tuple[Tensor, Tensor]:
        return disc(self.n_rings)

    @cached_property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), the same for every latent."""
        points, triangles = self._section
        return sweep_connectivity(triangles, len(points), self.n_layers)

    @property
    def _at_layers(self) -> _SplineMatrices:
        return _spline_matrices(self.n_control, self.n_radius, self.n_layers)

    def straight(self, *, length: float, radius: float, direction: object = (0.0, 0.0, 1.0)) -> Tensor:
        """Return the latent (P,) of a straight cylinder about the origin, µm, along `direction` (3,)."""
        axis = torch.as_tensor(direction, dtype=torch.float64)
        axis = axis / axis.norm()
        control = (greville(self.n_control) - 0.5)[:, None] * length * axis
        log_radius = torch.full((self.n_radius,), float(radius), dtype=torch.float64).log()
        return torch.cat([control.ravel(), log_radius])

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return a straight tube of the given extent, or with a `generator` one bent at random."""
        latent = self.straight(length=extent.length, radius=extent.radius, direction=extent.axis)
        if generator is None:
            return latent
        control, log_radius = self.split(latent)
        offset = torch.randn(2, 3, generator=generator, dtype=torch.float64) * (_START_BEND * extent.length)
        offset = offset - (offset @ extent.axis)[:, None] * extent.axis
        # cubic in the parameter whatever the number of control points
        s = greville(self.n_control)
        weights = torch.stack([3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s)], dim=1)
        return torch.cat([(control + weights @ offset).ravel(), log_radius])

    def split(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the control points (K, 3), µm, and control values of log-radius (Kr,) of `latent` (P,)."""
        if latent.shape != (self.n_latent,):
            raise InputError(f"Tube: latent has shape {tuple(latent.shape)}, expected ({self.n_latent},)")
        return latent[: 3 * self.n_control].view(self.n_control, 3), latent[3 * self.n_control :]

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (P,), differentiable."""
        control, log_radius = self.split(latent)
        matrices = self._at_layers
        tangent = matrices.slope @ control
        tangent = tangent / tangent.norm(dim=1, keepdim=True)
        radius = (matrices.radial @ log_radius).exp()
        centre = matrices.centre @ control
        first = rotation_minimising_normals(centre, tangent)
        second = torch.linalg.cross(tangent, first)
        section = self._section[0].to(latent)
        spokes = section[:, 0, None] * first[:, None] + section[:, 1, None] * second[:, None]
        return _with_vanishing_mean_error(centre[:, None] + radius[:, None, None] * spokes).reshape(-1, 3)

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (P,) of the tube through `vertices` (V, 3), µm, in the order of its mesh.

        Splines are fitted to the centre and the mean radius of each section, with the length of the
        centreline as the parameter.
        """
        points = self._section[0]
        expected = (self.n_layers + 1) * len(points), 3
        if vertices.shape != expected:
            raise InputError(f"Tube: vertices have shape {tuple(vertices.shape)}, expected {expected}")
        sections = vertices.detach().double().view(self.n_layers + 1, -1)
        layers = torch.eye(len(sections), dtype=sections.dtype)[..., None]
        smooth = torch.linalg.solve(_with_vanishing_mean_error(layers)[..., 0], sections)
        smooth = smooth.view(self.n_layers + 1, -1, 3)
        centre = smooth.mean(1)
        squares = (smooth - centre[:, None]).square().sum(2).mean(1)
        log_radius = (squares / points.square().sum(1).mean()).log() / 2
        along = torch.cat([centre.new_zeros(1), centre.diff(dim=0).norm(dim=1).cumsum(0)])
        s = along / along[-1]
        control = torch.linalg.lstsq(spline_matrix(self.n_control, s), centre).solution
        radial = torch.linalg.lstsq(spline_matrix(self.n_radius, s), log_radius[:, None]).solution
        return torch.cat([control.ravel(), radial.ravel()])

    def fold_margin(self, latent: Tensor) -> float:
        """Return min(1 − r κ) along the curve, κ its curvature.

        The sweep is a local bijection while it is positive. r is that of the polygon's
        corners, which reach past the circle of the same area.
        """
        control, log_radius = self.split(latent.detach())
        s = torch.linspace(0, 1, _CHECKS_PER_LAYER * self.n_layers + 1, dtype=torch.float64)
        first = spline_matrix(self.n_control, s, derivative=1) @ control
        second = spline_matrix(self.n_control, s, derivative=2) @ control
        speed = first.norm(dim=1)
        if float(speed.min()) == 0.0:
            return -torch.inf
        curvature = torch.linalg.cross(first, second).norm(dim=1) / speed**3
        radius = (spline_matrix(self.n_radius, s) @ log_radius).exp()
        reach = float(self._section[0].norm(dim=1).max())
        return float((1 - reach * radius * curvature).min())

    def gauge(self, latent: Tensor) -> Tensor:
        """Return residuals that the signal cannot see: uneven speed along the curve and the centre of points.

        Points may slide along their own curve and the whole shape may be moved without any change of signal;
        keeping these values (n_layers + 4,) small, dimensionless and µm, fixes both without touching the
        shape.
        """
        control, _ = self.split(latent)
        speed = (self._at_layers.slope @ control).norm(dim=1)
        uneven = (speed / speed.mean() - 1) * (_GAUGE_ROWS / (self.n_layers + 1)) ** 0.5
        return torch.cat([uneven, control.mean(0)])

    def roughness(self, latent: Tensor) -> Tensor:
        """Return r κ (as a vector) and dr/ds along the curve over their usual size, (4 (n_layers + 1),).

        The rows are weighted so that their squares sum to one for each length of a diameter that has the
        usual size: the negative log of a Gaussian prior on smooth tubes, the same at any number of knots and
        layers.
        """
        control, log_radius = self.split(latent)
        matrices = self._at_layers
        slope, bend = matrices.slope @ control, matrices.bend @ control
        radius = (matrices.radial @ log_radius).exp()
        speed = slope.norm(dim=1)
        tangent = slope / speed[:, None]
        curvature = (bend - (bend * tangent).sum(1, keepdim=True) * tangent) / speed[:, None] ** 2
        widening = radius * (matrices.radial_slope @ log_radius) / speed
        diameters = (speed.mean() / (2 * radius.mean())).detach() / (self.n_layers + 1)
        rows = torch.cat([radius[:, None] * curvature, widening[:, None]], dim=1) / _USUAL
        weighted: Tensor = (rows * diameters.sqrt()).ravel()
        return weighted

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return how far r κ exceeds 1/2 along the curve (n_layers + 1,), zero where it does not."""
        control, log_radius = self.split(latent)
        matrices = self._at_layers
        slope, bend = matrices.slope @ control, matrices.bend @ control
        radius = (matrices.radial @ log_radius).exp()
        # κ² rather than κ: its root has no derivative on a straight line
        normal = torch.linalg.cross(slope, bend).square().sum(1)
        turn = radius**2 * normal / slope.square().sum(1) ** 3
        return torch.relu(turn - 0.25)

    def refined(self, latent: Tensor, *, centreline: bool = True, radius: bool = True) -> tuple[Tube, Tensor]:
        """Insert a knot in the middle of every span; return the finer tube and the same shape's latent."""
        control, log_radius = self.split(latent)
        tube = self
        if centreline:
            control = refinement_matrix(self.n_control).to(control) @ control
            tube = replace(tube, n_control=refined_count(self.n_control))
        if radius:
            log_radius = refinement_matrix(self.n_radius).to(log_radius) @ log_radius
            tube = replace(tube, n_radius=refined_count(self.n_radius))
        return tube, torch.cat([control.ravel(), log_radius])

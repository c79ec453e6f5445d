"""`Tube`: an axon as a B-spline centreline with a B-spline log-radius, meshed by a structured sweep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..errors import InputError
from ..mesh import disc, sweep_connectivity
from .base import AbstractShape
from .frame import rotation_minimising_normals
from .spline import greville, refined_count, refinement_matrix, spline_matrix

_CHECKS_PER_LAYER = 4


@dataclass(frozen=True, kw_only=True)
class Tube(AbstractShape):
    """Shapes swept by a disc of varying radius along a curve, with flat closed ends.

    The latent (P,) holds the control points of the centreline, x y z each (µm), then those of log(radius / µm).
    Position and orientation are part of it: pose is estimated, never given.

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

    n_control: int = 4
    n_radius: int = 4
    n_rings: int = 2
    n_layers: int = 20

    def __post_init__(self) -> None:
        for name, least in (("n_control", 4), ("n_radius", 4), ("n_rings", 1), ("n_layers", 1)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"Tube: {name} is {value}, expected at least {least}")

    @property
    def n_latent(self) -> int:
        """Number of parameters P = 3·n_control + n_radius."""
        return 3 * self.n_control + self.n_radius

    @cached_property
    def _section(self) -> tuple[Tensor, Tensor]:
        return disc(self.n_rings)

    @cached_property
    def _layers(self) -> Tensor:
        return torch.linspace(0, 1, self.n_layers + 1, dtype=torch.float64)

    @cached_property
    def tets(self) -> Tensor:  # type: ignore[override]
        """Connectivity (T, 4), the same for every latent."""
        points, triangles = self._section
        return sweep_connectivity(triangles, len(points), self.n_layers)

    @cached_property
    def _matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        s = self._layers
        return (
            spline_matrix(self.n_control, s),
            spline_matrix(self.n_control, s, derivative=1),
            spline_matrix(self.n_radius, s),
        )

    def straight(self, *, length: float, radius: float, direction: object = (0.0, 0.0, 1.0)) -> Tensor:
        """Return the latent (P,) of a straight cylinder about the origin, µm, along `direction` (3,)."""
        axis = torch.as_tensor(direction, dtype=torch.float64)
        axis = axis / axis.norm()
        control = (greville(self.n_control) - 0.5)[:, None] * length * axis
        log_radius = torch.full((self.n_radius,), float(radius), dtype=torch.float64).log()
        return torch.cat([control.ravel(), log_radius])

    def split(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the control points (K, 3), µm, and the control values of log-radius (Kr,) of `latent` (P,)."""
        if latent.shape != (self.n_latent,):
            raise InputError(f"Tube: latent has shape {tuple(latent.shape)}, expected ({self.n_latent},)")
        return latent[: 3 * self.n_control].view(self.n_control, 3), latent[3 * self.n_control :]

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (P,), differentiable."""
        control, log_radius = self.split(latent)
        position, slope, radial = (m.to(latent) for m in self._matrices)
        centre, tangent = position @ control, slope @ control
        tangent = tangent / tangent.norm(dim=1, keepdim=True)
        radius = (radial @ log_radius).exp()
        first = rotation_minimising_normals(centre, tangent)
        second = torch.linalg.cross(tangent, first)
        section = self._section[0].to(latent)
        spokes = section[:, 0, None] * first[:, None] + section[:, 1, None] * second[:, None]
        return (centre[:, None] + radius[:, None, None] * spokes).reshape(-1, 3)

    def fold_margin(self, latent: Tensor) -> float:
        """Return min(1 − r κ) along the curve, κ its curvature: the sweep is a local bijection while it is positive."""
        control, log_radius = self.split(latent.detach())
        s = torch.linspace(0, 1, _CHECKS_PER_LAYER * self.n_layers + 1, dtype=torch.float64)
        first = spline_matrix(self.n_control, s, derivative=1) @ control
        second = spline_matrix(self.n_control, s, derivative=2) @ control
        speed = first.norm(dim=1)
        if float(speed.min()) == 0.0:
            return -torch.inf
        curvature = torch.linalg.cross(first, second).norm(dim=1) / speed**3
        radius = (spline_matrix(self.n_radius, s) @ log_radius).exp()
        return float((1 - radius * curvature).min())

    def gauge(self, latent: Tensor) -> Tensor:
        """Return residuals that the signal cannot see: uneven speed along the curve, and the centre of the points.

        Points may slide along their own curve and the whole shape may be moved without any change of signal; keeping
        these values (n_layers + 4,) small, dimensionless and µm, fixes both without touching the shape.
        """
        control, _ = self.split(latent)
        slope = self._matrices[1].to(latent) @ control
        speed = slope.norm(dim=1)
        mean = speed.mean()
        return torch.cat([(speed / mean - 1), control.mean(0)])

    def roughness(self, latent: Tensor) -> Tensor:
        """Return second differences of the log-radius and of the centreline over the mean radius, (·,)."""
        control, log_radius = self.split(latent)
        radius = log_radius.mean().exp().detach()
        bend = control[2:] - 2 * control[1:-1] + control[:-2]
        bead = log_radius[2:] - 2 * log_radius[1:-1] + log_radius[:-2]
        return torch.cat([bend.ravel() / radius, bead])

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return how far r κ exceeds 1/2 along the curve (n_layers + 1,), zero where it does not."""
        control, log_radius = self.split(latent)
        slope, bend = (m.to(latent) @ control for m in (self._matrices[1], self._second))
        radius = (self._matrices[2].to(latent) @ log_radius).exp()
        # κ² rather than κ: its root has no derivative on a straight line
        normal = torch.linalg.cross(slope, bend).square().sum(1)
        turn = radius**2 * normal / slope.square().sum(1) ** 3
        return torch.relu(turn - 0.25)

    @cached_property
    def _second(self) -> Tensor:
        return spline_matrix(self.n_control, self._layers, derivative=2)

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

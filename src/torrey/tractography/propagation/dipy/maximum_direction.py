"""`MaximumDirection`: go along the largest of many amplitudes; its soft version."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ....errors import InputError
from ...fields import SHField
from ...grid import Grid
from ...harmonics import harmonics
from ...interpolation import interpolate
from ..rules import Heading
from .hemisphere import default_hemisphere


@dataclass(frozen=True, eq=False)
class MaximumDirection:
    """Go along the vertex of a hemisphere at which the orientation distribution is largest, within a cone.

    DIPY's `deterministic_tracking(sh=...)`: harmonics are interpolated trilinearly and evaluated at the
    vertices, which are fixed in the axes of the image; amplitudes below `threshold` times the largest do
    not count; among vertices at less than `angle` from the last direction the largest amplitude wins.

    An argmax over vertices has no gradient with respect to the field: small changes leave it where it is.
    `SoftMaximumDirection` has one, and this as its limit.

    Parameters
    ----------
    vertices : (N, 3) Tensor, optional
        Unit vectors on half a sphere, in the axes of the image. By default the 362 of DIPY.
    angle : float
        Half-angle of the cone, degrees. DIPY's default is 20.
    threshold : float
        Smallest amplitude that counts, as a fraction of the largest at the position.
    """

    vertices: Tensor | None = None
    angle: float = 20.0
    threshold: float = 0.1
    default_step: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        _check(self.vertices, self.angle, self.threshold)

    def rule(self, field: object) -> MaximumRule:
        """Return the rule for an `SHField` that asks for no gradient."""
        field = _sh_field(field, self)
        if field.coefficients.requires_grad and torch.is_grad_enabled():
            raise InputError(
                "coefficients want a gradient, and MaximumDirection, an argmax, has none; "
                "expected SoftMaximumDirection"
            )
        return MaximumRule(*_sampled(field, self.vertices), _cosine(self.angle), self.threshold)

    def seed_directions(self, field: SHField, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the seeds (m,) that have a direction, and the vertices (m, 3) of the largest amplitude."""
        return _strongest(field, self.vertices, seeds)


@dataclass(frozen=True, eq=False)
class SoftMaximumDirection:
    """Go along the mean of the vertices within a cone, weighted by a softmax of their amplitudes.

    d = normalise(Σₖ wₖ sₖ vₖ), w = softmax(amplitude/`temperature`) over the vertices within the cone, sₖ =
    ±1 the side of the last direction. As the temperature goes to 0 this is `MaximumDirection`; it ends
    where that ends. Unlike it, it is differentiable in the coefficients and the position, wherever no
    vertex enters or leaves the cone.

    Parameters
    ----------
    temperature : float
        In units of the amplitudes. Vertices whose amplitude is less than the largest by a few temperatures
        do not count.
    vertices, angle, threshold
        As in `MaximumDirection`.
    """

    temperature: float
    vertices: Tensor | None = None
    angle: float = 20.0
    threshold: float = 0.1
    default_step: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        _check(self.vertices, self.angle, self.threshold)
        if not self.temperature > 0:
            raise InputError(
                f"temperature is {self.temperature}; expected it above 0, where MaximumDirection is the limit"
            )

    def rule(self, field: object) -> SoftMaximumRule:
        """Return the rule for an `SHField`."""
        sampled = _sampled(_sh_field(field, self), self.vertices)
        return SoftMaximumRule(*sampled, _cosine(self.angle), self.threshold, self.temperature)

    def seed_directions(self, field: SHField, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the seeds (m,) that have a direction, and the vertices (m, 3) of the largest amplitude."""
        return _strongest(field, self.vertices, seeds)


class _Cone(NamedTuple):
    amplitudes: Tensor  # (n, N), −∞ outside the cone
    along: Tensor  # (n, N), cosine to the last direction
    best: Tensor  # (n,), vertex of the largest amplitude in the cone
    largest: Tensor  # (n,), that amplitude
    found: Tensor  # (n,)


@dataclass(frozen=True, eq=False)
class MaximumRule:
    """Amplitudes of the harmonics `image` (V, C) at `vertices` (N, 3), through `basis` (N, C)."""

    grid: Grid
    image: Tensor
    vertices: Tensor
    basis: Tensor
    cosine: float
    threshold: float

    rows_at_once: ClassVar[int] = 1024
    """Positions at once, so that their amplitudes, 3 MB, stay in the cache."""

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the vertices with the largest amplitudes, on the side of `references`."""
        cone = self.cone(image, points, references)
        side = cone.along.gather(1, cone.best[:, None])
        axes = self.vertices[cone.best] * torch.where(side > 0, 1.0, -1.0).to(points.dtype)
        return Heading(self.to_world(axes), cone.largest, cone.found)

    def amplitudes(self, image: Tensor, points: Tensor) -> Tensor:
        """Return the amplitudes (n, N) at the vertices."""
        return interpolate(image, self.grid, points) @ self.basis.T

    def cone(self, image: Tensor, points: Tensor, references: Tensor) -> _Cone:
        """Return what lies within the cone about `references` (n, 3)."""
        amplitudes = self.amplitudes(image, points)
        last = normalize(references @ self.grid.world_to_axes.T.to(points), dim=-1)
        along = last @ self.vertices.T
        least = self.threshold * amplitudes.detach().amax(1)
        amplitudes = torch.where(along.abs() > self.cosine, amplitudes, -torch.inf)
        largest, best = amplitudes.max(1)
        found = (largest > 0) & (largest >= least) & within(self.grid, points)
        return _Cone(amplitudes, along, best, largest, found)

    def to_world(self, directions: Tensor) -> Tensor:
        """Return `directions` (n, 3), given in the axes of the image, in those of the world."""
        return directions @ self.grid.axes.T.to(directions)


@dataclass(frozen=True, eq=False)
class SoftMaximumRule(MaximumRule):
    """The same vertices, averaged with the weights of a softmax."""

    temperature: float

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the weighted means of the vertices in the cone, on the side of `references`."""
        cone = self.cone(image, points, references)
        # where the cone is empty, all is −∞; such a position ends, and a zero row keeps it free of NaN
        logits = torch.where(cone.found[:, None], cone.amplitudes / self.temperature, 0.0)
        weights = logits.softmax(1) * torch.where(cone.along > 0, 1.0, -1.0).to(points.dtype)
        return Heading(self.to_world(normalize(weights @ self.vertices, dim=-1)), cone.largest, cone.found)


def within(grid: Grid, points: Tensor) -> Tensor:
    """Tell (n,) which points lie in the image: −½ ≤ voxel < size − ½, as DIPY has it."""
    voxels = grid.to_voxels(points)
    sizes = torch.tensor(grid.shape, device=points.device)
    return ((voxels >= -0.5) & (voxels < sizes - 0.5)).all(-1)


def _check(vertices: Tensor | None, angle: float, threshold: float) -> None:
    if vertices is not None and (vertices.dim() != 2 or vertices.shape[1] != 3):
        raise InputError(f"vertices have shape {tuple(vertices.shape)}; expected (N, 3)")
    if not 0 < angle <= 90:
        raise InputError(f"angle is {angle}; expected degrees above 0, at most 90")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; expected a fraction of the largest amplitude, 0 to 1")


def _sh_field(field: object, algorithm: object) -> SHField:
    if isinstance(field, SHField):
        return field
    kind = type(algorithm).__name__
    raise InputError(f"field is a {type(field).__name__}; expected an SHField for {kind}")


def _cosine(angle: float) -> float:
    return math.cos(math.radians(angle))


def _sampled(field: SHField, vertices: Tensor | None) -> tuple[Grid, Tensor, Tensor, Tensor]:
    image = field.coefficients.flatten(0, 2).double()
    vertices = (default_hemisphere() if vertices is None else vertices).to(image)
    basis = harmonics(normalize(vertices @ field.grid.axes.T.to(image), dim=-1), field.degree)
    return field.grid, image, vertices, basis


@torch.no_grad()
def _strongest(field: SHField, vertices: Tensor | None, seeds: Tensor) -> tuple[Tensor, Tensor]:
    rule = MaximumRule(*_sampled(field, vertices), cosine=0.0, threshold=0.0)
    largest, best = zip(
        *(rule.amplitudes(rule.image, part).max(1) for part in seeds.split(1024)), strict=True
    )
    chosen = ((torch.cat(largest) > 0) & within(field.grid, seeds)).nonzero()[:, 0]
    return chosen, rule.to_world(rule.vertices[torch.cat(best)[chosen]])

"""Differentiable deformations of vertices: bend, twist, bead, fan, and any composition.

Each is a value, called on vertices (V, 3) in µm and returning new ones. Extents and centres are those of the
vertices it is called on. Its parameters may be tensors, through which gradients flow, as they do through the
vertices. "Height" is z above `origin`, or above the lowest vertex where `origin` is None.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError, MeshError
from .tetmesh import TetMesh


class AbstractDeformation(ABC):
    """A map from vertices (V, 3) to vertices (V, 3), µm."""

    @abstractmethod
    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the displaced `vertices` (V, 3), µm."""


@dataclass(frozen=True, eq=False)
class Bend(AbstractDeformation):
    """Displace along x by 30·a·W·(height/H)², with W and H the extents along x and z.

    Parameters
    ----------
    amount : float or 0-d Tensor
        a, dimensionless.
    origin : float, optional
        z of the plane that stays in place, µm; that of the lowest vertex where not given. 0 gives
        SpinDoctor's bend of a cell centred on the origin.
    """

    amount: float | Tensor
    origin: float | None = None

    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the bent `vertices` (V, 3), µm."""
        x, y, z = vertices.unbind(1)
        relative = _height(z, self.origin) / _extent(z)
        return torch.stack([x + 30 * self.amount * _extent(x) * relative**2, y, z], dim=1)


@dataclass(frozen=True, eq=False)
class Twist(AbstractDeformation):
    """Rotate (x, y) about the centre of the bounding box by angle·height/H, with H the extent along z.

    Parameters
    ----------
    angle : float or 0-d Tensor
        Angle between bottom and top, rad.
    origin : float, optional
        z of the plane that stays in place, µm; that of the lowest vertex where not given.
    """

    angle: float | Tensor
    origin: float | None = None

    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the twisted `vertices` (V, 3), µm."""
        x, y, z = vertices.unbind(1)
        turn = self.angle * _height(z, self.origin) / _extent(z)
        u, v = x - _centre(x), y - _centre(y)
        cos, sin = turn.cos(), turn.sin()
        return torch.stack([_centre(x) + cos * u - sin * v, _centre(y) + sin * u + cos * v, z], dim=1)


@dataclass(frozen=True, eq=False)
class Bead(AbstractDeformation):
    """Scale the distance from the vertical axis by 1 + A sin(2πn·height/H), with H the extent along z.

    Parameters
    ----------
    amplitude : float or 0-d Tensor
        A, |A| < 1.
    count : float or 0-d Tensor
        n, the number of beads.
    origin : float, optional
        z of the first node of the sine, µm; that of the lowest vertex where not given.
    """

    amplitude: float | Tensor
    count: float | Tensor
    origin: float | None = None

    def __post_init__(self) -> None:
        amplitude = _number(self.amplitude)
        if not abs(amplitude) < 1:
            raise InputError(f"bead: amplitude is {amplitude:g}, expected between -1 and 1")

    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the beaded `vertices` (V, 3), µm."""
        x, y, z = vertices.unbind(1)
        phase = 2 * math.pi * self.count * _height(z, self.origin) / _extent(z)
        scale = 1 + self.amplitude * phase.sin()
        return torch.stack(
            [_centre(x) + scale * (x - _centre(x)), _centre(y) + scale * (y - _centre(y)), z], dim=1
        )


@dataclass(frozen=True, eq=False)
class Fan(AbstractDeformation):
    """Let lines parallel to the vertical axis diverge, the outermost by `angle`.

    A line at the distance ρ from the axis stays straight and tilts outwards by the slope tan(angle)·ρ/ρ_max:
    (x, y) is scaled about the axis by 1 + height·tan(angle)/ρ_max. The scale is positive and z stays, so no
    tet can fold for angles from 0° to below 90°.

    Parameters
    ----------
    angle : float or 0-d Tensor
        Divergence of the outermost line from the axis, degrees, 0 ≤ angle < 90.
    """

    angle: float | Tensor

    def __post_init__(self) -> None:
        angle = _number(self.angle)
        if not 0 <= angle < 90:
            raise InputError(f"fan: angle is {angle:g}, expected 0 ≤ angle < 90 degrees")

    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the fanned `vertices` (V, 3), µm."""
        x, y, z = vertices.unbind(1)
        u, v = x - _centre(x), y - _centre(y)
        widest = (u**2 + v**2).amax().sqrt()
        slope = torch.as_tensor(self.angle, dtype=z.dtype, device=z.device).deg2rad().tan()
        scale = 1 + _height(z, None) * slope / widest
        return torch.stack([_centre(x) + scale * u, _centre(y) + scale * v, z], dim=1)


@dataclass(frozen=True, eq=False, init=False)
class Compose(AbstractDeformation):
    """Apply `steps` one after another, the first first."""

    steps: tuple[AbstractDeformation, ...]

    def __init__(self, *steps: AbstractDeformation) -> None:
        object.__setattr__(self, "steps", steps)

    def __call__(self, vertices: Tensor) -> Tensor:
        """Return the deformed `vertices` (V, 3), µm."""
        for step in self.steps:
            vertices = step(vertices)
        return vertices


def deform(mesh: TetMesh, *steps: AbstractDeformation) -> TetMesh:
    """Return `mesh` with `steps` applied one after another.

    Raises
    ------
    MeshError
        When a tet is inverted by it: the deformation is too strong for this mesh.
    """
    moved = mesh.with_vertices(Compose(*steps)(mesh.vertices))
    inverted = ((moved.volumes.detach() <= 0) & (mesh.volumes.detach() > 0)).nonzero()[:, 0]
    if len(inverted):
        raise MeshError(
            f"deform: {len(inverted)} of {mesh.n_tets} tets are inverted (first: tet {int(inverted[0])}), "
            "expected none; deform less or refine the mesh"
        )
    return moved


def _number(value: float | Tensor) -> float:
    return float(value.detach()) if isinstance(value, Tensor) else float(value)


def _extent(coordinate: Tensor) -> Tensor:
    return coordinate.amax() - coordinate.amin()


def _centre(coordinate: Tensor) -> Tensor:
    return (coordinate.amax() + coordinate.amin()) / 2


def _height(z: Tensor, origin: float | None) -> Tensor:
    return z - (z.amin() if origin is None else origin)

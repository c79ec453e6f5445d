"""`Posed`: a shape model of canonical pose, turned by an unknown rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import AbstractShape, Extent
from .frame import any_normal


def rotation_of(vector: Tensor) -> Tensor:
    r"""Return the rotation (3, 3) of `vector` (3,), four times the modified Rodrigues parameters.

    R = 1 + (4(1 − σ²)[σ]ₓ + 8[σ]ₓ²)/(1 + σ²)² with σ = tan(φ/4) n (Shuster, J. Astronaut. Sci. 41, 439
    (1993)): rational, without a singularity short of a full turn, and for small angles `vector` is φ n, rad.
    """
    sigma = vector / 4
    cross, square = _cross_matrix(sigma), sigma @ sigma
    rotation: Tensor = (
        torch.eye(3, dtype=vector.dtype, device=vector.device)
        + (4 * (1 - square) * cross + 8 * cross @ cross) / (1 + square).square()
    )
    return rotation


def vector_of(rotation: Tensor) -> Tensor:
    """Return the vector (3,) of which `rotation` (3, 3) is the `rotation_of`, with a turn of at most π."""
    trace = float(rotation.diagonal().sum())
    skew = (rotation - rotation.T) / 2
    axis = torch.stack([skew[2, 1], skew[0, 2], skew[1, 0]])
    sine = float(axis.norm())
    angle = math.atan2(sine, (trace - 1) / 2)
    if sine < 1e-7:
        if angle < 1:
            return axis
        # half a turn: R = 2nnᵀ − 1
        outer = (rotation + torch.eye(3).to(rotation)) / 2
        axis = outer[int(outer.diagonal().argmax())]
    unit: Tensor = axis / axis.norm()
    return 4 * math.tan(angle / 4) * unit


@dataclass(frozen=True, eq=False)
class Posed(AbstractShape):
    """The shapes of `model`, each in any orientation: pose is estimated with the shape.

    The latent (P + 3,) is that of the model, then the rotation vector of `rotation_of`. Position is not
    part of it: signals do not see it.

    Parameters
    ----------
    model : AbstractShape
        Of shapes in canonical pose.
    """

    model: AbstractShape

    @property
    def n_latent(self) -> int:
        """Number of parameters, three more than those of the model."""
        return self.model.n_latent + 3

    @property
    def tets(self) -> Tensor:
        """Connectivity (T, 4), that of the model."""
        return self.model.tets

    @property
    def start_margin(self) -> float:
        """That of the model."""
        return self.model.start_margin

    @property
    def n_candidates(self) -> int:
        """That of the model."""
        return self.model.n_candidates

    def split(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latent (P,) of the model and the rotation (3, 3)."""
        return latent[:-3], rotation_of(latent[-3:])

    def vertices(self, latent: Tensor) -> Tensor:
        """Return the vertices (V, 3), µm, of `latent` (P + 3,), differentiable."""
        inner, rotation = self.split(latent)
        return self.model.vertices(inner) @ rotation.T

    def latent_of(self, vertices: Tensor) -> Tensor:
        """Return the latent (P + 3,) of `vertices` (V, 3), µm, taken to be in canonical pose."""
        inner = self.model.latent_of(vertices)
        return torch.cat([inner, inner.new_zeros(3)])

    @property
    def n_relatives(self) -> int:
        """That of the model."""
        return self.model.n_relatives

    def relatives(self, index: int) -> Posed:
        """Return those of the model, each in any orientation."""
        return Posed(self.model.relatives(index))

    def carried(self, other: AbstractShape, latent: Tensor) -> Tensor:
        """Return the latent (P + 3,) of the shape nearest to that of `latent` in `other`, posed too."""
        if not isinstance(other, Posed):
            return super().carried(other, latent)
        return torch.cat([self.model.carried(other.model, latent[:-3]), latent[-3:]])

    def with_rotation(self, inner: Tensor, rotation: Tensor) -> Tensor:
        """Return the latent (P + 3,) of the model's `inner` (P,) turned by `rotation` (3, 3)."""
        return torch.cat([inner, vector_of(rotation).to(inner)])

    def fold_margin(self, latent: Tensor) -> float:
        """Return that of the model."""
        return self.model.fold_margin(latent[:-3])

    def gauge(self, latent: Tensor) -> Tensor:
        """Return that of the model."""
        return self.model.gauge(latent[:-3])

    def roughness(self, latent: Tensor) -> Tensor:
        """Return that of the model: no orientation is more probable than another."""
        return self.model.roughness(latent[:-3])

    def fold_barrier(self, latent: Tensor) -> Tensor:
        """Return that of the model."""
        return self.model.fold_barrier(latent[:-3])

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return a start of the model with its longest axis turned to that of `extent`.

        With a `generator` the turn about that axis and which of its ends is up are random.
        """
        inner = self.model.initial(extent, generator=generator)
        vertices = self.model.vertices(inner).detach()
        centred = vertices - vertices.mean(0)
        longest = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
        turn = _rotation_between(longest, extent.axis.to(longest))
        if generator is not None:
            number = torch.rand(2, generator=generator, dtype=torch.float64)
            if float(number[0]) < 0.5:
                turn = _rotation_about(any_normal(extent.axis.to(turn)), math.pi) @ turn
            turn = _rotation_about(extent.axis.to(turn), 2 * math.pi * float(number[1])) @ turn
        return self.with_rotation(inner, turn)


def _cross_matrix(vector: Tensor) -> Tensor:
    """Return [v]ₓ (3, 3), with which v × u = [v]ₓ u."""
    x, y, z = vector.unbind()
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)


def _rotation_about(axis: Tensor, angle: float) -> Tensor:
    """Return the rotation (3, 3) by `angle`, rad, about the unit vector `axis` (3,)."""
    cross = _cross_matrix(axis)
    rotation: Tensor = (
        torch.eye(3, dtype=axis.dtype) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    )
    return rotation


def _rotation_between(start: Tensor, end: Tensor) -> Tensor:
    """Return the rotation (3, 3) that takes the line along `start` to that along `end` the shorter way."""
    start = start if float(start @ end) >= 0 else -start
    normal = torch.linalg.cross(start, end)
    sine = float(normal.norm())
    axis = normal / sine if sine > 1e-12 else any_normal(end)
    return _rotation_about(axis, math.atan2(sine, float(start @ end)))

"""`TensorDet`: follow the principal axis of a diffusion tensor that is fitted at each position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ..anisotropy import fractional_anisotropy
from ..fields import DiffusionField
from ..grid import Grid
from ..interpolation import interpolate, support
from ..peaks import direction_pullback
from ..regions import Region
from .rules import Heading

# xx, xy, xz, yy, yz, zz as homogeneous polynomials of degree 2 count the mixed ones twice
_MIXED = (1.0, 2.0, 2.0, 1.0, 2.0, 1.0)


@dataclass(frozen=True)
class TensorDet:
    """Go along the principal axis of the diffusion tensor.

    What MRtrix calls Tensor_Det: signals are interpolated trilinearly, the tensor is their ordinary
    least-squares fit at each position, and the cutoff is its fractional anisotropy.
    """

    def rule(self, field: object) -> TensorRule:
        """Return the rule for a `DiffusionField`."""
        if not isinstance(field, DiffusionField):
            raise InputError(f"field is a {type(field).__name__}; expected a DiffusionField for TensorDet")
        x, y, z = field.directions.to(field.images).unbind(-1)
        b = field.bvals.to(field.images)
        columns = [x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z]
        design = torch.stack([*(b * column for column in columns), -torch.ones_like(b)], -1).double()
        if int(torch.linalg.matrix_rank(design / design.norm(dim=0).clamp_min(1e-300))) < 7:
            raise InputError(
                f"{len(b)} gradients do not determine a tensor; expected b = 0 and six directions"
            )
        return TensorRule(field.grid, field.images.flatten(0, 2), torch.linalg.pinv(design)[:6])


@dataclass(frozen=True, eq=False)
class TensorRule:
    """Tensors fitted to the interpolated signals of `image` (V, N) by the matrix `fit` (6, N)."""

    grid: Grid
    image: Tensor
    fit: Tensor

    @cached_property
    def support(self) -> Region:
        """Where the field is known."""
        return support(self.image, self.grid)

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return principal axes, on the side of `references`; amplitudes are fractional anisotropies."""
        signals = interpolate(image, self.grid, points)
        positive = signals > 0
        attenuation = torch.where(positive, -torch.where(positive, signals, 1.0).log(), 0.0)
        # float64: the fit divides differences of logarithms by b
        tensors = attenuation.double() @ self.fit.T.to(attenuation.device)
        directions = _PrincipalAxis.apply(tensors).to(signals.dtype)
        facing = (directions.detach() * references).sum(-1, keepdim=True)
        found = tensors.detach().isfinite().all(-1)
        return Heading(
            directions * torch.where(facing < 0, -1.0, 1.0).to(signals.dtype),
            fractional_anisotropy(tensors).to(signals.dtype),
            found,
        )


def principal_axes(tensors: Tensor) -> Tensor:
    """Return the unit eigenvector (n, 3) of the largest eigenvalue of tensors (n, 6), of either sign.

    The eigenvalue comes in closed form, the vector from the longest cross product of two rows of M − λ1; in
    float64 this leaves an error of 1e-15 over the relative gap between the two largest eigenvalues, squared.
    """
    xx, xy, xz, yy, yz, zz = tensors.unbind(-1)
    mean = (xx + yy + zz) / 3
    a, b, c = xx - mean, yy - mean, zz - mean
    size = ((a * a + b * b + c * c + 2 * (xy * xy + xz * xz + yz * yz)) / 6).sqrt().clamp_min(1e-300)
    a, b, c, d, e, f = (value / size for value in (a, b, c, xy, xz, yz))
    half = ((a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / 2).clamp(-1, 1)
    largest = 2 * torch.cos(torch.acos(half) / 3)
    rows = torch.stack(
        [
            torch.stack([a - largest, d, e], -1),
            torch.stack([d, b - largest, f], -1),
            torch.stack([e, f, c - largest], -1),
        ],
        -2,
    )
    crosses = torch.linalg.cross(rows, rows.roll(-1, dims=-2), dim=-1)
    lengths = crosses.norm(dim=-1)
    best = lengths.argmax(-1)
    chosen = crosses.gather(1, best[:, None, None].expand(-1, 1, 3))[:, 0]
    axes: Tensor = chosen / chosen.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    return axes


class _PrincipalAxis(torch.autograd.Function):
    """The axis is the peak of xᵀMx on the sphere, so its derivative is that of peaks, at degree 2."""

    @staticmethod
    def forward(ctx: Any, tensors: Tensor) -> Tensor:
        axes = principal_axes(tensors)
        ctx.save_for_backward(tensors, axes)
        return axes

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        tensors, axes = ctx.saved_tensors
        twice = tensors.new_tensor(_MIXED)
        zero = torch.zeros_like(axes[:, 0])
        pulled: Tensor = direction_pullback(tensors * twice, axes, cotangents[0], zero, 2) * twice
        return pulled

r"""Steps of a reduced model under a gradient that turns in space.

The waveform is constant on each cell of its raster. With A_c = W_c a_c W_cᵀ diagonalised once for three axes
x, y and z, a cell is m steps of duration h of

    X Y Z e^{−hΛ} Z Y X,     X = W_x e^{−i(h/2) q_x a_x} W_xᵀ,

all measurements as columns of one matrix product. Steps are symmetric in time and the gradient does not
change within one, so that the error has even powers of 1/m only, and runs of several m extrapolate. Position
matrices of different axes commute but for the cut of the basis, so that splitting the axes costs little.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .splitting import multiply


class Axes(NamedTuple):
    """Positions a (3, n) and bases W (3, n, n) along x, y and z, and the rates (n,)."""

    positions: Tensor
    bases: Tensor
    rates: Tensor

    @classmethod
    def of(cls, rates: Tensor, moments: Tensor) -> Axes:
        """Diagonalise `moments` (3, n, n); `rates` (n, n) are diagonal."""
        positions, bases = torch.linalg.eigh(moments)
        return cls(positions, bases, rates.diagonal())

    def passages(self) -> tuple[Tensor, Tensor]:
        """Return the matrices from the basis of x to that of y, and from y to z."""
        x, y, z = self.bases
        return y.mT @ x, z.mT @ y

    def decay(self, h: float) -> Tensor:
        """Return e^{−hΛ} (n, n) in the basis of z."""
        z = self.bases[2]
        return z.mT @ (torch.exp(-h * self.rates)[:, None] * z)

    def phases(self, q: Tensor, h: float) -> Tensor:
        """Return the diagonals (3, n, C) of X, Y and Z for the wave vectors `q` (C, 3) of a cell."""
        angle = (h / 2) * self.positions[:, :, None] * q.mT[:, None]
        return torch.polar(torch.ones_like(angle), -angle)


def rested(vectors: Tensor, rates: Tensor, pause: float) -> Tensor:
    """Return `vectors` (..., n) after a `pause`, ms: ν before the gradients, observers after them."""
    return torch.exp(-pause * rates) * vectors


class AxesStep(NamedTuple):
    """States (n, C) after each phase factor of one step, in the basis of its axis."""

    x: Tensor
    y: Tensor
    z: Tensor
    z_again: Tensor
    y_again: Tensor
    x_again: Tensor


def axes_step(state: Tensor, phases: Tensor, passages: tuple[Tensor, Tensor], decay: Tensor) -> AxesStep:
    """Take `state` (n, C), in the basis of x, through one step."""
    to_y, to_z = passages
    x = phases[0] * state
    y = phases[1] * multiply(to_y, x)
    z = phases[2] * multiply(to_z, y)
    z_again = phases[2] * multiply(decay, z)
    y_again = phases[1] * multiply(to_z.mT, z_again)
    return AxesStep(x, y, z, z_again, y_again, phases[0] * multiply(to_y.mT, y_again))


def axes_run(
    axes: Axes, start: Tensor, q: Tensor, steps: tuple[float, int], *, kept: list[Tensor] | None = None
) -> Tensor:
    """Return the state (n, C) in the modes after `q` (C, K, 3); append that before each cell to `kept`.

    `steps` are the duration of a step, ms, and how many make a cell. What is kept is in the basis of x.
    """
    h, m = steps
    passages, decay = axes.passages(), axes.decay(h)
    state = (axes.bases[0].mT @ start)[:, None].to(torch.complex128).repeat(1, len(q))
    for cell in q.unbind(1):
        if kept is not None:
            kept.append(state)
        phases = axes.phases(cell, h)
        for _ in range(m):
            state = axes_step(state, phases, passages, decay).x_again
    return multiply(axes.bases[0], state)

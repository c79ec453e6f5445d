"""The tangent of `three_axes_steps`: from changes of Λ, the A, ν and q to those of the state at the end.

A change of A_c turns its basis, dW_c = W_c Ω_c. The real matrices from basis to basis then change, and phase
factors stay diagonal but between equal positions, which turn nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .splitting import multiply
from .splitting_adjoint import NEAR, divided_exponential
from .three_axes_steps import Axes


class Moved(NamedTuple):
    """A tensor and its change."""

    value: Tensor
    change: Tensor


class Change(NamedTuple):
    """Changes of Λ (n, n) and of the moments (3, n, n), in the modes."""

    rates: Tensor
    moments: Tensor


def push_forward(axes: Axes, change: Change, start: Moved, q: Moved, steps: tuple[float, int]) -> Tensor:
    """Return what changes of the axes, of `start` (n,) and of q (C, K, 3) make of what `axes_run` returns."""
    h, m = steps
    turn = _Turn.of(axes, change.moments, (h / 2) * q.value.abs().amax((0, 1)))
    x, y, z = turn.rotations
    to_y, to_z = axes.passages()
    there = Moved(to_y, to_y @ x - y @ to_y), Moved(to_z, to_z @ y - z @ to_z)
    back = [_transposed(matrix) for matrix in there]
    held, basis = axes.decay(h), axes.bases[2]
    slower = change.rates * divided_exponential(axes.rates, axes.rates.new_tensor(h))
    decay = Moved(held, basis.mT @ slower @ basis + held @ z - z @ held)
    out = Moved(axes.bases[0], axes.bases[0] @ x)
    begin = Moved(*(part[:, None].to(torch.complex128).expand(-1, len(q.value)) for part in start))
    state = through(_transposed(out), begin)
    for cell, cell_change in zip(q.value.unbind(1), q.change.unbind(1), strict=True):
        phases = turn.phases(axes, Moved(cell, cell_change), h)
        for _ in range(m):
            state = phases[0].on(state)
            for c, matrix in ((1, there[0]), (2, there[1]), (2, decay), (1, back[1]), (0, back[0])):
                state = phases[c].on(through(matrix, state))
    return through(out, state).change


def through(matrix: Moved, state: Moved) -> Moved:
    """Return `matrix` (m, n) times `state` (n, C), and its change."""
    return Moved(
        multiply(matrix.value, state.value),
        multiply(matrix.value, state.change) + multiply(matrix.change, state.value),
    )


def _transposed(matrix: Moved) -> Moved:
    return Moved(matrix.value.mT, matrix.change.mT)


class _Phase(NamedTuple):
    """Diagonal factors (n, C) and `slope`, their change over them; `per_position` (C,) is −i(h/2)q.

    `equal` (n, n) is the change of A between equal positions, off the diagonal.
    """

    factor: Tensor
    slope: Tensor
    equal: Tensor | None
    per_position: Tensor

    def on(self, state: Moved) -> Moved:
        made = self.factor * state.value
        change = self.factor * state.change + self.slope * made
        if self.equal is not None:
            change = change + multiply(self.equal, self.per_position * made)
        return Moved(made, change)


class _Turn(NamedTuple):
    """Changes of A in its bases.

    Attributes
    ----------
    rotations : (3, n, n) Tensor
        Ω, antisymmetric.
    positions : (3, n) Tensor
        Of the eigenvalues a.
    equal : (3,) list of (n, n) Tensor or None
        Elements between equal positions, which turn nothing; None where there are none.
    """

    rotations: Tensor
    positions: Tensor
    equal: list[Tensor | None]

    @classmethod
    def of(cls, axes: Axes, moments: Tensor, reach: Tensor) -> _Turn:
        """Take `moments` to the bases; positions are equal where `reach` (3,) makes no phase of their gap."""
        turned = axes.bases.mT @ moments @ axes.bases
        gap = axes.positions[:, None] - axes.positions[:, :, None]
        near = reach[:, None, None] * gap.abs() < NEAR
        positions = turned.diagonal(dim1=1, dim2=2)
        equal = turned.masked_fill(~near, 0.0) - torch.diag_embed(positions)
        rotations = (turned / gap.masked_fill(near, 1.0)).masked_fill(near, 0.0)
        return cls(rotations, positions, [part if bool(part.any()) else None for part in equal])

    def phases(self, axes: Axes, q: Moved, h: float) -> list[_Phase]:
        """Return X, Y and Z for `q` (C, 3) of a cell."""
        per_position = -0.5j * h * q.value.mT
        slopes = axes.positions[:, :, None] * q.change.mT[:, None] * (-0.5j * h)
        slopes = slopes + self.positions[:, :, None] * per_position[:, None]
        parts = zip(axes.phases(q.value, h), slopes, self.equal, per_position, strict=True)
        return [_Phase(*part) for part in parts]

"""The adjoint of `three_axes_steps`: from cotangents of the signals to those of Λ, the A, ν and q.

As in `splitting_adjoint`, derivatives of exponentials are divided differences with numerators that telescope.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .splitting import multiply
from .splitting_adjoint import NEAR, divided_exponential, outer
from .three_axes_steps import Axes, AxesStep, axes_run, axes_step


class Pulled(NamedTuple):
    """Cotangents of Λ (n, n) and the moments (3, n, n), of ν (n,), and of q (C, K, 3)."""

    rates: Tensor
    moments: Tensor
    start: Tensor
    q: Tensor


def pull_back(axes: Axes, start: Tensor, q: Tensor, steps: tuple[float, int], bar: Tensor) -> Pulled:
    """Pull `bar` (n, C) on the state that `axes_run` returns back to all that it came from."""
    h, m = steps
    passages, decay = axes.passages(), axes.decay(h)
    kept: list[Tensor] = []
    axes_run(axes, start, q, steps, kept=kept)
    x = axes.bases[0]
    adjoint = multiply(x.mT, bar)
    sums = _Sums(axes, q, h)
    q_bar = torch.zeros_like(q)
    for k in reversed(range(q.shape[1])):
        phases = axes.phases(q[:, k], h)
        state, trace = kept[k], []
        for _ in range(m):
            trace.append(axes_step(state, phases, passages, decay))
            state = trace[-1].x_again
        if k == q.shape[1] - 1:
            sums.end(adjoint, state)
        for step in reversed(trace):
            # a step is the same read backwards, so that its adjoint is the step with conjugate phases
            back = axes_step(adjoint, phases.conj().resolve_conj(), passages, decay)
            q_bar[:, k] += sums.add(step, back, phases, q[:, k])
            adjoint = back.x_again
    sums.begin(adjoint, kept[0])
    return Pulled(sums.rates(axes, h), sums.moments(axes, decay), x @ adjoint.real.sum(1), q_bar)


class _Sums:
    """Products bar* ⊗ state (n, n) summed over the steps of a run.

    The cotangent of A_c has the divided differences of its phase factors, whose numerators are bar* ⊗ state
    before each less that after it. Neighbours share those between them but for a change of basis, and across
    the decay they are C B and B C, with C that of bar after it and state before it, B the decay.
    """

    def __init__(self, axes: Axes, q: Tensor, h: float) -> None:
        n = len(axes.rates)
        self._half = h / 2
        self._positions = axes.positions
        self._gap = axes.positions[:, :, None] - axes.positions[:, None]
        reach = self._half * q.abs().amax((0, 1))
        self._near = reach[:, None, None] * self._gap.abs() < NEAR
        self._equal = [bool(near.sum() > n) for near in self._near]
        # outside all steps; between x and y; between y and z; across the decay
        self._outside, self._xy, self._yz, self._across = axes.rates.new_zeros(4, n, n)
        self._turned = axes.rates.new_zeros(3, n, n)

    def end(self, bar: Tensor, state: Tensor) -> None:
        """Add what leaves the last step."""
        self._outside -= outer([bar], [state])

    def begin(self, bar: Tensor, state: Tensor) -> None:
        """Add what enters the first step."""
        self._outside += outer([bar], [state])

    def add(self, step: AxesStep, back: AxesStep, phases: Tensor, q: Tensor) -> Tensor:
        """Add one step with `q` (C, 3), and return the cotangent of q; `back` is its adjoint."""
        to, fro = phases, phases.conj().resolve_conj()
        x = [to[0] * back.x_again, back.x], [step.x, fro[0] * step.x_again]
        y = [to[1] * back.y_again, back.y], [step.y, fro[1] * step.y_again]
        z = [to[2] * back.z_again, back.z], [step.z, fro[2] * step.z_again]
        self._xy += outer([x[0][0], -x[0][1]], x[1])
        self._yz += outer([y[0][0], -y[0][1]], y[1])
        self._across += outer([back.z], [step.z])
        slopes = []
        for c, (bars, states) in enumerate((x, y, z)):
            # Re(bar* · (−i) state), the slope in a phase
            first, again = (b.real * s.imag - b.imag * s.real for b, s in zip(bars, states, strict=True))
            slope = first + again
            slopes.append(self._half * (self._positions[c] @ slope))
            if self._equal[c]:
                turned = [-1j * self._half * q[:, c] * s for s in states]
                self._turned[c] += outer(bars, turned)
            else:
                self._turned[c].diagonal().add_(self._half * (slope @ q[:, c]))
        return torch.stack(slopes, dim=1)

    def rates(self, axes: Axes, h: float) -> Tensor:
        """Return the cotangent of Λ."""
        z = axes.bases[2]
        in_modes: Tensor = z @ self._across @ z.mT
        return in_modes * divided_exponential(axes.rates, axes.rates.new_tensor(h))

    def moments(self, axes: Axes, decay: Tensor) -> Tensor:
        """Return the cotangents of the three A."""
        to_y, to_z = axes.passages()
        numerators = torch.stack(
            [
                self._outside - self._xy,
                to_y @ self._xy @ to_y.mT - self._yz,
                to_z @ self._yz @ to_z.mT + self._across @ decay - decay @ self._across,
            ]
        )
        divided = torch.where(self._near, self._turned, numerators / self._gap.masked_fill(self._near, 1.0))
        return axes.bases @ divided @ axes.bases.mT

r"""One gradient pulse of the reduced Bloch–Torrey equation, by extrapolated splitting.

A pulse takes the magnetisation from ν to exp(−δ(Λ + iqA)) ν with Λ the decay rates (diagonal) and A = u·J the
position along the axis (symmetric). With A = W a Wᵀ diagonalised once an axis, a Strang step of h = δ/m is

    x → P^½ B P^½ x,    P = exp(−ihq a),    B = Wᵀ exp(−hΛ) W

in the basis of A: one real matrix product for all amplitudes of the axis. Its error has even powers of h, so
four step counts m = k, 2k, 3k, 4k extrapolate to eighth order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_STIFF = 4.0
"""Decay hλ of the fastest mode in a step above which extrapolation gains less than its estimate says: the
error is then up to hλ / 4 of it (`benchmarks/splitting.py`)."""


@dataclass(frozen=True, eq=False)
class Pulse:
    """Axes of a chunk of groups, diagonalised.

    Attributes
    ----------
    positions : (G, n) Tensor
        Eigenvalues a of A = u·J, µm.
    rotation : (G, n, n) Tensor
        Eigenvectors W in columns.
    rates : (n,) Tensor
        Diagonal of Λ, 1/ms.
    duration : (G,) Tensor
        δ, ms.
    wave_number : (G, C) Tensor
        q, rad/(µm ms).
    steps : tuple of int
        The step counts m that are extrapolated.
    """

    positions: Tensor
    rotation: Tensor
    rates: Tensor
    duration: Tensor
    wave_number: Tensor
    steps: tuple[int, ...]

    def select(self, groups: slice) -> Pulse:
        """Return the pulses of some groups."""
        return replace(
            self,
            positions=self.positions[groups],
            rotation=self.rotation[groups],
            duration=self.duration[groups],
            wave_number=self.wave_number[groups],
        )

    def propagate(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(−δ(Λ + iqA)) ν (G, n, C) for ν = `start` (n,), and an error estimate (G, n, C)."""
        initial = self.initial(start)
        runs = [self.run(initial, m) for m in self.steps]
        end = extrapolate(runs, self.steps)
        return self.rotate(end), self.rotate(end - extrapolate(runs[1:], self.steps[1:]))

    def initial(self, start: Tensor) -> Tensor:
        """Take `start` (n,) to the bases of the axes (G, n, 1)."""
        return (start @ self.rotation)[:, :, None]

    def rotate(self, state: Tensor, *, inverse: bool = False) -> Tensor:
        """Take `state` (G, n, C) from the bases of the axes to that of modes, or back."""
        return multiply(self.rotation.mT if inverse else self.rotation, state)

    def to_modes(self, matrices: Tensor) -> Tensor:
        """Return W X Wᵀ for X (G, K, n, n): from the bases of the axes to that of modes."""
        W = self.rotation[:, None]
        return W @ matrices @ W.mT

    def decay(self, m: int) -> Tensor:
        """Return B (G, n, n) of one of m steps."""
        decay = torch.exp(-(self.duration / m)[:, None] * self.rates)
        return self.rotation.mT @ (decay[:, :, None] * self.rotation)

    def half_phase(self, m: int) -> Tensor:
        """Return the diagonal of P^½ (G, n, C) of one of m steps."""
        angle = (self.duration[:, None] / (2 * m) * self.wave_number)[:, None, :] * self.positions[:, :, None]
        return torch.polar(torch.ones_like(angle), -angle)

    def run(
        self, initial: Tensor, m: int, *, trace: tuple[list[Tensor], list[Tensor]] | None = None
    ) -> Tensor:
        """Return the state (G, n, C) after m steps; append what decay factors act on and make to `trace`."""
        half, decay = self.half_phase(m), self.decay(m)
        full = half * half
        state = half * initial
        for j in range(m):
            decayed = multiply(decay, state)
            if trace is not None:
                trace[0].append(state)
                trace[1].append(decayed)
            phase = half if j == m - 1 else full
            # in place saves a tenth; what was appended must stay
            state = decayed.mul_(phase) if trace is None else phase * decayed
        return state


def extrapolation_weights(steps: tuple[int, ...]) -> list[float]:
    """Return the weights with which runs of `steps` make the highest order: Richardson in 1/m²."""
    weights = []
    for k in steps:
        weight = 1.0
        for l in steps:
            if l != k:
                weight *= k**2 / (k**2 - l**2)
        weights.append(weight)
    return weights


def stiffness(longest: float, rates: Tensor) -> float:
    """Return by what to enlarge the estimate of an error, for the `longest` step, ms, of the least count."""
    return max(1.0, longest * float(rates.max()) / _STIFF)


def multiply(matrix: Tensor, state: Tensor) -> Tensor:
    """Multiply real (..., m, n) by complex (..., n, C), as one real product of twice the columns."""
    columns = torch.view_as_real(state.contiguous()).flatten(-2)
    return torch.view_as_complex((matrix @ columns).unflatten(-1, (-1, 2)))


def extrapolate(runs: list[Tensor], steps: tuple[int, ...]) -> Tensor:
    """Return the combination of `runs` with these `steps` that has the highest order."""
    weights = extrapolation_weights(steps)
    total = weights[0] * runs[0]
    for weight, run in zip(weights[1:], runs[1:], strict=True):
        total.add_(run, alpha=weight)
    return total

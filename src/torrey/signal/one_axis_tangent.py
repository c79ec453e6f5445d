"""The tangent of `one_axis_steps`: from changes of Λ, of each qA, of ν and of u to those of the signals."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .one_axis_steps import Axes, Ends, integrals, pulse_steps
from .splitting import extrapolate, multiply
from .splitting_adjoint import NEAR, divided_exponential
from .timing import PulseTiming


class Change(NamedTuple):
    """Changes of Λ (n, n), of qA (G, C, n, n), of ν and u, in the modes."""

    rates: Tensor
    position: Tensor
    ends: Ends


def push_forward(  # noqa: PLR0917 (one after another in the chain)
    axes: Axes, rates: Tensor, ends: Ends, timing: PulseTiming, counts: tuple[int, ...], change: Change
) -> Tensor:
    """Return what `change` makes of the extrapolated signals (G, C, K)."""
    turn = _Turn.of(axes, change.position, timing)
    runs = []
    for m in counts:
        steps = pulse_steps(timing, m)
        decays = axes.decays(rates, steps)
        slower = change.rates * divided_exponential(rates, steps.lengths.to(rates))
        decays_change = [axes.rotation.mT @ part @ axes.rotation for part in slower]
        state, moved = axes.initial(ends.start), axes.initial(change.ends.start)
        for j, gap in enumerate(steps.gaps):
            moved = multiply(decays[gap], moved) + multiply(decays_change[gap], state)
            state = multiply(decays[gap], state)
            if j < len(steps.phases):
                phi = float(steps.phases[j])
                phase = axes.phase(phi)
                turned = phase * state
                moved = phase * moved + turn.of_phase(phase, phi, state, turned)
                state = turned
        runs.append(integrals(axes, ends.observers, moved) + integrals(axes, change.ends.observers, state))
    return extrapolate(runs, counts)


class _Turn(NamedTuple):
    """A change X of qA in the bases of the axes, as the derivative of phase factors P = e^{−iφqa} takes it.

    Between unequal positions that is X_kl/(q(a_k − a_l)) times P_k − P_l, so that it is P Y − Y P with the
    one Y for all factors; between equal ones −iφ X P.

    Attributes
    ----------
    quotients : (G, C, n, n) Tensor
        Y.
    slopes : (G, n, C) Tensor
        Diagonal of X, µm times that of q.
    equal : (G, C, n, n) Tensor or None
        X between equal positions off the diagonal, None where there is nothing.
    """

    quotients: Tensor
    slopes: Tensor
    equal: Tensor | None

    @classmethod
    def of(cls, axes: Axes, position: Tensor, timing: PulseTiming) -> _Turn:
        rotation = axes.rotation[:, None]
        turned = rotation.mT @ position @ rotation
        gap = (axes.positions[:, :, None] - axes.positions[:, None])[:, None]
        gap = axes.wave_number[:, :, None, None] * gap
        near = timing.small_delta * gap.abs() < NEAR
        slopes = turned.diagonal(dim1=2, dim2=3)
        equal = turned.masked_fill(~near, 0.0) - torch.diag_embed(slopes)
        quotients = (turned / gap.masked_fill(near, 1.0)).masked_fill(near, 0.0)
        return cls(quotients, slopes.mT, equal if bool(equal.any()) else None)

    def of_phase(self, phase: Tensor, phi: float, before: Tensor, after: Tensor) -> Tensor:
        """Return what X adds (G, n, C) in a `phase` factor that makes the state `after` of that `before`."""
        slope = self.slopes * after
        if self.equal is not None:
            slope = slope + _multiply_each(self.equal, after)
        return (
            phase * _multiply_each(self.quotients, before)
            - _multiply_each(self.quotients, after)
            - (1j * phi) * slope
        )


def _multiply_each(matrices: Tensor, state: Tensor) -> Tensor:
    """Multiply real (G, C, n, n) by the columns of complex (G, n, C)."""
    columns = torch.view_as_real(state.mT.contiguous())
    return torch.view_as_complex(matrices @ columns).mT

"""The adjoint of `one_axis_steps`: from cotangents of the signals to those of Λ, A, ν and u.

As in `splitting_adjoint`, derivatives of exponentials are divided differences with numerators that telescope.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .one_axis_steps import Axes, Ends, pulse_steps, pulses_run
from .splitting import extrapolation_weights, multiply
from .splitting_adjoint import NEAR, diagonal, divided_exponential, outer, outer_each
from .timing import PulseTiming


class Pulled(NamedTuple):
    """Cotangents of Λ (n, n), of A (G, 1, n, n) or of qA (G, C, n, n), of ν and u, in the modes."""

    rates: Tensor
    position: Tensor
    ends: Ends


def pull_back(  # noqa: PLR0917 (one after another in the chain)
    axes: Axes,
    rates: Tensor,
    ends: Ends,
    timing: PulseTiming,
    counts: tuple[int, ...],
    bar: Tensor,
    *,
    each: bool,
) -> Pulled:
    """Pull `bar` (G, C, K) on the signals back through all runs; `each` keeps measurements apart."""
    rates_bar, (start_bar, observers_bar) = torch.zeros_like(rates.diag()), map(torch.zeros_like, ends)
    telescoped: Tensor | float = 0.0
    diagonal_part: Tensor | float = 0.0
    product = outer_each if each else lambda bars, states: outer(bars, states)[:, None]
    scale = torch.ones_like(axes.wave_number) if each else axes.wave_number
    reach = axes.wave_number.abs() if each else axes.wave_number.abs().amax(1, keepdim=True)
    gap = (axes.positions[:, :, None] - axes.positions[:, None])[:, None]
    near = (reach * timing.small_delta)[:, :, None, None] * gap.abs() < NEAR
    mixed = bool(near.sum() > near[..., 0].numel())
    for m, weight in zip(counts, extrapolation_weights(counts), strict=True):
        steps = pulse_steps(timing, m)
        trace = pulses_run(axes, rates, ends.start, steps)
        decays = axes.decays(rates, steps)
        end = weight * multiply((ends.observers @ axes.rotation).mT, bar.mT)
        observers_bar += (outer([weight * bar.mT], [trace.after[-1]]) @ axes.rotation.mT).sum(0)
        before_bars: list[Tensor] = [end] * len(steps.gaps)
        after_bars: list[Tensor] = [end] * len(steps.gaps)
        state = end
        for j in reversed(range(len(steps.gaps))):
            if j < len(steps.phases):
                state = axes.phase(float(steps.phases[j])).conj().resolve_conj() * state
            after_bars[j] = state
            state = multiply(decays[steps.gaps[j]], state)
            before_bars[j] = state
        start_bar += torch.einsum("gik,gk->i", axes.rotation, before_bars[0].real.sum(2))
        for k, length in enumerate(steps.lengths):
            here = [j for j, gap_of in enumerate(steps.gaps) if gap_of == k]
            pair = outer([after_bars[j] for j in here], [trace.before[j] for j in here])
            in_modes = (axes.rotation @ pair @ axes.rotation.mT).sum(0)
            rates_bar += in_modes * divided_exponential(rates, length.to(rates))
        # of each phase factor ⟨in⟩ − ⟨out⟩; out of one is before of the next gap
        telescoped = telescoped + product(
            after_bars[:-1] + [-b for b in before_bars[1:]], trace.after[:-1] + trace.before[1:]
        )
        turned = [
            (-1j * float(phi)) * scale[:, None] * out
            for phi, out in zip(steps.phases, trace.before[1:], strict=True)
        ]
        if mixed:
            diagonal_part = diagonal_part + product(before_bars[1:], turned)
        else:
            own = diagonal(before_bars[1:], turned)
            diagonal_part = diagonal_part + torch.diag_embed(own.mT if each else own.sum(2)[:, None])
    over = gap * axes.wave_number[:, :, None, None] if each else gap
    position = torch.where(near, diagonal_part, telescoped / over.masked_fill(near, 1.0))
    rotation = axes.rotation[:, None]
    return Pulled(rates_bar, rotation @ position @ rotation.mT, Ends(start_bar, observers_bar))

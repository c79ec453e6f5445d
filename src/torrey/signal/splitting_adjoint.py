r"""The adjoint of a split pulse: from the cotangent of its end to those of Λ, A and ν.

The product of `splitting` run backwards. Derivatives of exp in a matrix direction are divided differences of
its eigenvalues (Daleckii and Krein, 1965): no eigenvector derivative, and equal eigenvalues do no harm.
The numerators of those of the phase factors telescope: each contributes ⟨in⟩ − ⟨out⟩ of cotangent ⊗ state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .splitting import Pulse, extrapolation_weights, multiply

NEAR = 1e-7
"""Phase difference (rad) under which a divided difference is taken as a derivative: the error is half of it,
while subtraction would lose about 1e-16 / NEAR."""


@dataclass(frozen=True, eq=False)
class PulseCotangent:
    """Cotangents in the basis of modes; the second dimension K is C (each measurement) or 1 (summed).

    The matrices are to be paired with symmetric changes; they are not symmetric themselves.

    Attributes
    ----------
    rates : (G, K, n, n) Tensor
        Of Λ as a symmetric matrix.
    position : (G, K, n, n) Tensor
        Of A where summed, of qA where each.
    start : (G, K, n) Tensor
        Of ν.
    """

    rates: Tensor
    position: Tensor
    start: Tensor

    def __add__(self, other: PulseCotangent) -> PulseCotangent:
        return PulseCotangent(
            self.rates + other.rates, self.position + other.position, self.start + other.start
        )


def pulse_adjoint(pulse: Pulse, start: Tensor, cotangent: Tensor, *, each: bool) -> PulseCotangent:
    """Pull `cotangent` (G, n, C) of the end of a pulse back to the matrices and to ν = `start` (n,).

    With `each` the result keeps one matrix a measurement, else it is summed over the measurements of a group.
    """
    back, initial = pulse.rotate(cotangent, inverse=True), pulse.initial(start)
    runs = zip(pulse.steps, extrapolation_weights(pulse.steps), strict=True)
    sweeps = [_sweep(pulse, initial, weight * back, m) for m, weight in runs]
    first = _total([sweep.start_bar.real for sweep in sweeps])
    if each:
        decay, position = _decay_each(pulse, sweeps), _position_each(pulse, sweeps)
    else:
        decay, position = _summed(pulse, sweeps)
        first = first.sum(2, keepdim=True)
    return PulseCotangent(decay, pulse.to_modes(position), first.mT @ pulse.rotation.mT)


class _Sweep(NamedTuple):
    """The states (G, n, C) of a run of m steps and their cotangents, in the bases of the axes.

    The m of `before` and `after` are what the decay factors act on and make; half a phase factor lies before
    the first and after the last, a whole one between.
    """

    start: Tensor
    before: list[Tensor]
    after: list[Tensor]
    end: Tensor
    start_bar: Tensor
    before_bar: list[Tensor]
    after_bar: list[Tensor]
    end_bar: Tensor


def _sweep(pulse: Pulse, initial: Tensor, back: Tensor, m: int) -> _Sweep:
    before: list[Tensor] = []
    after: list[Tensor] = []
    end = pulse.run(initial, m, trace=(before, after))
    decay, conj_half = pulse.decay(m), pulse.half_phase(m).conj().resolve_conj()
    conj_full = conj_half * conj_half
    before_bar: list[Tensor] = []
    after_bar: list[Tensor] = []
    state = conj_half * back
    for j in reversed(range(m)):
        after_bar.insert(0, state)
        state = multiply(decay, state)
        before_bar.insert(0, state)
        state = (conj_half if j == 0 else conj_full) * state
    start = initial.to(state.dtype).expand_as(state)
    return _Sweep(start, before, after, end, state, before_bar, after_bar, back)


def _decay_each(pulse: Pulse, sweeps: list[_Sweep]) -> Tensor:
    """Return the cotangent of Λ (G, C, n, n); vectors are rotated to the modes, being fewer than matrices."""
    parts = []
    for sweep in sweeps:
        after_bar, before = (_to_modes(pulse, x) for x in (sweep.after_bar, sweep.before))
        divided = _divided_decay(pulse, len(sweep.before))
        parts.append(outer_each(after_bar, before).mul_(divided[:, None]))
    return _total(parts)


def _position_each(pulse: Pulse, sweeps: list[_Sweep]) -> Tensor:
    """Return the cotangent of qA (G, C, n, n) in the bases of the axes."""
    made_bars = [x for s in sweeps for x in (*s.before_bar, s.end_bar)]
    bars = [x for s in sweeps for x in (s.start_bar, *s.after_bar)] + [-x for x in made_bars]
    states = [x for s in sweeps for x in (s.start, *s.after)]
    states += [x for s in sweeps for x in (*s.before, s.end)]
    telescoped = outer_each(bars, states)
    near = _near(pulse, each=True)
    turned = _turned(pulse, sweeps, torch.ones_like(pulse.wave_number))
    if _degenerate(near):
        phase = outer_each(made_bars, turned)
    else:
        phase = torch.diag_embed(diagonal(made_bars, turned).mT)
    return _divide(telescoped, pulse.wave_number[:, :, None, None] * _differences(pulse), phase, near)


def _summed(pulse: Pulse, sweeps: list[_Sweep]) -> tuple[Tensor, Tensor]:
    """Return the cotangents of Λ, and of A in the bases of the axes, (G, 1, n, n)."""
    decays, telescoped = [], []
    for sweep in sweeps:
        product, decay = outer(sweep.after_bar, sweep.before), pulse.decay(len(sweep.before))
        decays.append(pulse.to_modes(product[:, None]) * _divided_decay(pulse, len(sweep.before))[:, None])
        # after = B before and before̅ = B after̅, so that Σ after̅* ⊗ after − before̅* ⊗ before is a commutator
        ends = outer([sweep.start_bar, -sweep.end_bar], [sweep.start, sweep.end])
        telescoped.append(product @ decay - decay @ product + ends)
    near = _near(pulse, each=False)
    bars = [x for s in sweeps for x in (*s.before_bar, s.end_bar)]
    turned = _turned(pulse, sweeps, pulse.wave_number)
    phase = outer(bars, turned) if _degenerate(near) else torch.diag_embed(diagonal(bars, turned).sum(2))
    position = _divide(_total(telescoped)[:, None], _differences(pulse), phase[:, None], near)
    return _total(decays), position


def _turned(pulse: Pulse, sweeps: list[_Sweep], wave_number: Tensor) -> list[Tensor]:
    """Return −i t q times what each phase factor makes, (G, n, C), with t its duration.

    That is its derivative in a position, and in a pair of equal ones.
    """
    turned = []
    for sweep in sweeps:
        turn = (-1j / len(sweep.before)) * (pulse.duration[:, None] * wave_number)[:, None]
        first, *inner = sweep.before
        turned += [turn / 2 * first, *(turn * state for state in inner), turn / 2 * sweep.end]
    return turned


def _divide(telescoped: Tensor, difference: Tensor, phase: Tensor, near: Tensor) -> Tensor:
    """Return the divided difference (G, K, n, n): `phase` where positions are `near`."""
    return torch.where(near, phase, telescoped / difference.masked_fill(near, 1.0))


def _differences(pulse: Pulse) -> Tensor:
    """Return the differences of positions (G, 1, n, n), µm."""
    return (pulse.positions[:, :, None] - pulse.positions[:, None, :])[:, None]


def _near(pulse: Pulse, *, each: bool) -> Tensor:
    """Return which pairs of positions (G, K, n, n) count as equal."""
    q = pulse.wave_number.abs()
    span = pulse.duration[:, None] * (q if each else q.amax(1, keepdim=True))
    return span[:, :, None, None] * _differences(pulse).abs() < NEAR


def _degenerate(near: Tensor) -> bool:
    """Return whether positions off the diagonal are equal."""
    return bool(near.sum() > near[..., 0].numel())


def _divided_decay(pulse: Pulse, steps: int) -> Tensor:
    """Return the divided differences (G, n, n) of exp(−hΛ)."""
    durations, index = torch.unique(pulse.duration, return_inverse=True)
    return divided_exponential(pulse.rates, durations / steps)[index]


def divided_exponential(rates: Tensor, time: Tensor) -> Tensor:
    """Return (e^{−tλᵢ} − e^{−tλⱼ})/(λᵢ − λⱼ) for `rates` (n,) and `time` (...), shape (..., n, n)."""
    t = time[..., None, None]
    high, low = torch.maximum(rates[:, None], rates), torch.minimum(rates[:, None], rates)
    gap = t * (high - low)
    # (1 − e^{−x})/x is smooth; expm1 keeps it exact for small x
    ratio = torch.where(gap > 0, -torch.expm1(-gap) / gap.clamp(min=1e-300), torch.ones_like(gap))
    return -t * torch.exp(-t * low) * ratio


def _total(tensors: list[Tensor]) -> Tensor:
    total = tensors[0].clone()
    for other in tensors[1:]:
        total += other
    return total


def _to_modes(pulse: Pulse, states: list[Tensor]) -> list[Tensor]:
    """Take `states` (G, n, C) from the bases of the axes to that of modes."""
    return list(pulse.rotate(torch.cat(states, dim=2)).chunk(len(states), dim=2))


def diagonal(bars: list[Tensor], states: list[Tensor]) -> Tensor:
    """Return the diagonal of Σ Re(bar* ⊗ state), (G, n, C)."""
    total = torch.zeros_like(states[0].real)
    for bar, state in zip(bars, states, strict=True):
        total.addcmul_(bar.real, state.real).addcmul_(bar.imag, state.imag)
    return total


def outer(bars: list[Tensor], states: list[Tensor]) -> Tensor:
    """Return Σ Re(bar* ⊗ state) of pairs of (..., n, C), summed over C too: (..., n, n)."""
    left, right = (torch.view_as_real(torch.cat(x, dim=-1)).flatten(-2) for x in (bars, states))
    return left @ right.mT


def outer_each(bars: list[Tensor], states: list[Tensor]) -> Tensor:
    """Return Σ Re(bar* ⊗ state) of pairs of (G, n, C), for each measurement: (G, C, n, n)."""
    left, right = (
        torch.stack([part.transpose(1, 2) for x in states for part in (x.real, x.imag)], dim=2)
        for states in (bars, states)
    )
    return left.mT @ right

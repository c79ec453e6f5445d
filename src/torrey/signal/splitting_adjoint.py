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

_NEAR = 1e-7
"""Phase difference (rad) under which a divided difference is taken as a derivative: the error is half of it,
while subtraction would lose about 1e-16 / _NEAR."""


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
    total: PulseCotangent | None = None
    for m, weight in zip(pulse.steps, extrapolation_weights(pulse.steps), strict=True):
        run_back = _each_products if each else _summed_products
        products = run_back(pulse, initial, weight * back, m)
        time = pulse.duration / m
        part = PulseCotangent(
            pulse.to_modes(products.decay) * divided_exponential(pulse.rates, time)[:, None],
            pulse.to_modes(_divided_phase(pulse, products, each=each)),
            products.first @ pulse.rotation.mT,
        )
        total = part if total is None else total + part
    assert total is not None
    return total


class _Products(NamedTuple):
    """Products Re(cotangent* ⊗ state) (G, K, n, n) along a run of m steps, in the bases of the axes.

    `decay` is summed over the decay factors; `telescoped` is ⟨in⟩ − ⟨out⟩ summed over the phase factors, and
    `phase` is t Im(cotangent* ⊗ state) summed over them, t being their duration: only its diagonal, unless
    positions are equal. `first` (G, K, n) is the cotangent of the initial state.
    """

    decay: Tensor
    telescoped: Tensor
    phase: Tensor
    first: Tensor


def _summed_products(pulse: Pulse, initial: Tensor, back: Tensor, m: int) -> _Products:
    near = _near(pulse, each=False)
    inputs: list[Tensor] = []
    end = pulse.run(initial, m, inputs=inputs)
    decay, conj_half = pulse.decay(m), pulse.half_phase(m).conj().resolve_conj()
    conj_full = conj_half * conj_half
    time = (pulse.duration[:, None] / m * pulse.wave_number)[:, None]
    turn = _add_turn(torch.zeros_like(end.real), back, end, 0.5)
    phase = torch.zeros_like(decay)
    degenerate = _degenerate(near)
    if degenerate:
        phase += _outer(back, (-0.5j * time) * end)
    product = torch.zeros_like(decay)
    state = conj_half * back
    for j in reversed(range(m)):
        left, right = (torch.view_as_real(x).flatten(2) for x in (state, inputs[j]))
        product.baddbmm_(left, right.mT)
        state = multiply(decay, state)
        share = 0.5 if j == 0 else 1.0
        if degenerate:
            phase += _outer(state, (-1j * share * time) * inputs[j])
        else:
            _add_turn(turn, state, inputs[j], share)
        state = (conj_half if j == 0 else conj_full) * state
    if not degenerate:
        phase.diagonal(dim1=1, dim2=2).add_((turn * time).sum(2))
    first = state.real.sum(2, keepdim=True)
    # out = B in and in̄ = B out̄, so that Σ out̄* ⊗ out − in̄* ⊗ in is a commutator
    telescoped = product @ decay - decay @ product + first * initial.mT - _outer(back, end)
    return _Products(product[:, None], telescoped[:, None], phase[:, None], first.mT)


def _each_products(pulse: Pulse, initial: Tensor, back: Tensor, m: int) -> _Products:
    inputs: list[Tensor] = []
    end = pulse.run(initial, m, inputs=inputs)
    decay, conj_half = pulse.decay(m), pulse.half_phase(m).conj().resolve_conj()
    conj_full = conj_half * conj_half
    outputs = [conj_full * after for after in inputs[1:]] + [conj_half * end]
    outputs_bar: list[Tensor] = []
    inputs_bar: list[Tensor] = []
    state = conj_half * back
    for j in reversed(range(m)):
        outputs_bar.insert(0, state)
        state = multiply(decay, state)
        inputs_bar.insert(0, state)
        state = (conj_half if j == 0 else conj_full) * state
    first = initial.to(state.dtype).expand_as(state)
    telescoped = _outer_each(
        [*outputs_bar, *(-x for x in inputs_bar), state, -back], [*outputs, *inputs, first, end]
    )
    # of the product qA, finite at q = 0
    time = (pulse.duration / m)[:, None, None]
    shares = [0.5, *[1.0] * (m - 1), 0.5]
    bars, states = [*inputs_bar, back], [*inputs, end]
    if _degenerate(_near(pulse, each=True)):
        turned = [(-1j * share * time) * x for share, x in zip(shares, states, strict=True)]
        phase = _outer_each(bars, turned)
    else:
        turn = torch.zeros_like(end.real)
        for share, bar, x in zip(shares, bars, states, strict=True):
            _add_turn(turn, bar, x, share)
        phase = torch.diag_embed((turn * time).mT)
    return _Products(_outer_each(outputs_bar, inputs), telescoped, phase, state.real.mT)


def _divided_phase(pulse: Pulse, products: _Products, *, each: bool) -> Tensor:
    """Return the cotangent of A, or of qA where `each`, in the bases of the axes (G, K, n, n)."""
    difference = (pulse.positions[:, :, None] - pulse.positions[:, None, :])[:, None]
    scale = pulse.wave_number[:, :, None, None] * difference if each else difference
    near = _near(pulse, each=each)
    return torch.where(near, products.phase, products.telescoped / scale.masked_fill(near, 1.0))


def _near(pulse: Pulse, *, each: bool) -> Tensor:
    """Return which pairs of positions (G, K, n, n) count as equal."""
    q = pulse.wave_number.abs()
    span = pulse.duration[:, None] * (q if each else q.amax(1, keepdim=True))
    difference = (pulse.positions[:, :, None] - pulse.positions[:, None, :])[:, None]
    return span[:, :, None, None] * difference.abs() < _NEAR


def _degenerate(near: Tensor) -> bool:
    """Return whether positions off the diagonal are equal."""
    return bool(near.sum() > near[..., 0].numel())


def divided_exponential(rates: Tensor, time: Tensor) -> Tensor:
    """Return (e^{−tλᵢ} − e^{−tλⱼ})/(λᵢ − λⱼ) for `rates` (n,) and `time` (...), shape (..., n, n)."""
    t = time[..., None, None]
    high, low = torch.maximum(rates[:, None], rates), torch.minimum(rates[:, None], rates)
    gap = t * (high - low)
    # (1 − e^{−x})/x is smooth; expm1 keeps it exact for small x
    ratio = torch.where(gap > 0, -torch.expm1(-gap) / gap.clamp(min=1e-300), torch.ones_like(gap))
    return -t * torch.exp(-t * low) * ratio


def _add_turn(total: Tensor, bar: Tensor, state: Tensor, share: float) -> Tensor:
    """Add share · Im(bar* state) to `total` (G, n, C)."""
    total.addcmul_(bar.real, state.imag, value=share)
    return total.addcmul_(bar.imag, state.real, value=-share)


def _outer(bar: Tensor, state: Tensor) -> Tensor:
    """Return Re(bar* ⊗ state) of (G, n, C), summed over C: (G, n, n)."""
    left, right = (torch.view_as_real(x.contiguous()).flatten(2) for x in (bar, state))
    return left @ right.mT


def _outer_each(bars: list[Tensor], states: list[Tensor]) -> Tensor:
    """Return Re(bar* ⊗ state) of M pairs of (G, n, C), summed over M: (G, C, n, n)."""
    left, right = (
        torch.view_as_real(torch.stack(x, dim=3).transpose(1, 2).contiguous()) for x in (bars, states)
    )
    return left.flatten(3) @ right.flatten(3).mT

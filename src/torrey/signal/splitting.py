r"""One gradient pulse of the reduced Bloch–Torrey equation, by extrapolated splitting, and its adjoint.

A pulse takes the magnetisation from ν to exp(−δ(Λ + iqA)) ν with Λ the decay rates (diagonal) and A = u·J the
position along the axis (symmetric). With A = W a Wᵀ diagonalised once an axis, a Strang step of length h = δ/m is

    x → P^½ B P^½ x,    P = exp(−ihq a),    B = Wᵀ exp(−hΛ) W

in the basis of A: one real matrix product for all amplitudes of the axis. Its error has even powers of h only, so
three step counts m = k, 2k, 3k extrapolate to sixth order.

The adjoint is the same product run backwards. Derivatives of exp in a matrix direction are divided differences of
its eigenvalues (Daleckii and Krein, 1965), whose numerators telescope to ⟨in⟩ − ⟨out⟩ of each factor; they need no
eigenvector derivative and hold for equal eigenvalues.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEAR = 1e-5
"""Phase difference (rad) under which a divided difference is taken as a derivative: the error is its square / 12,
while subtraction would lose about 1e-16 / _NEAR."""


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

    def propagate(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(−δ(Λ + iqA)) ν (G, n, C) for ν = `start` (n,), and an estimate of its error (G, n, C)."""
        runs = [self._run(self._initial(start), m)[-1] for m in self.steps]
        end = _extrapolate(runs, self.steps)
        return self._rotate(end), self._rotate(end - _extrapolate(runs[1:], self.steps[1:]))

    def adjoint(self, start: Tensor, cotangent: Tensor, *, each: bool) -> PulseCotangent:
        """Pull `cotangent` (G, n, C) of the end state back to the matrices and to ν = `start` (n,).

        With `each` the result keeps one matrix a measurement, else it is summed over the measurements of a group.
        """
        back = self._rotate(cotangent, inverse=True)
        weights = _weights(self.steps)
        total: PulseCotangent | None = None
        for m, weight in zip(self.steps, weights, strict=True):
            part = self._run_adjoint(self._initial(start), weight * back, m, each=each)
            total = part if total is None else total + part
        assert total is not None
        return PulseCotangent(total.rates, self._conjugate(total.position), total.start)

    def _initial(self, start: Tensor) -> Tensor:
        return (start @ self.rotation)[:, :, None]

    def _rotate(self, state: Tensor, *, inverse: bool = False) -> Tensor:
        return _multiply(self.rotation.mT if inverse else self.rotation, state)

    def _decay(self, m: int) -> Tensor:
        decay = torch.exp(-(self.duration / m)[:, None] * self.rates)
        return self.rotation.mT @ (decay[:, :, None] * self.rotation)

    def _half_phase(self, m: int) -> Tensor:
        angle = (self.duration[:, None] / (2 * m) * self.wave_number)[:, None, :] * self.positions[:, :, None]
        return torch.polar(torch.ones_like(angle), -angle)

    def _run(self, initial: Tensor, m: int) -> tuple[Tensor, Tensor]:
        """Return the inputs of the m decay factors (G, n, m, C) and the end state (G, n, C)."""
        half, decay = self._half_phase(m), self._decay(m)
        full = half * half
        G, n, C = half.shape
        inputs = half.new_empty(G, n, m, C)
        state = half * initial
        for j in range(m):
            inputs[:, :, j] = state
            state = (half if j == m - 1 else full) * _multiply(decay, state)
        return inputs, state

    def _run_adjoint(self, initial: Tensor, back: Tensor, m: int, *, each: bool) -> PulseCotangent:
        half, decay = self._half_phase(m), self._decay(m)
        conj_half = half.conj().resolve_conj()
        conj_full = conj_half * conj_half
        inputs, end = self._run(initial, m)
        outputs = torch.empty_like(inputs)
        outputs[:, :, : m - 1] = conj_full[:, :, None] * inputs[:, :, 1:]
        outputs[:, :, m - 1] = conj_half * end
        inputs_bar, outputs_bar = torch.empty_like(inputs), torch.empty_like(inputs)
        state = conj_half * back
        for j in reversed(range(m)):
            outputs_bar[:, :, j] = state
            state = _multiply(decay, state)
            inputs_bar[:, :, j] = state
            state = (conj_half if j == 0 else conj_full) * state
        first = initial.to(state.dtype).expand_as(state)
        decay_bar = _outer(outputs_bar, inputs, each=each)
        position_bar = self._position_cotangent(
            (state, inputs_bar, outputs_bar, back), (first, inputs, outputs, end), m, each=each
        )
        start_bar = self.rotation @ (state.real if each else state.real.sum(2, keepdim=True))
        rates_bar = self._conjugate(decay_bar) * divided_exponential(self.rates, self.duration / m)[:, None]
        return PulseCotangent(rates_bar, position_bar, start_bar.mT)

    def _position_cotangent(
        self, bars: tuple[Tensor, ...], states: tuple[Tensor, ...], m: int, *, each: bool
    ) -> Tensor:
        """Cotangent of qA in the basis of A, per measurement where `each`, else of A summed."""
        (first_bar, in_bar, out_bar, end_bar), (first, inputs, outputs, end) = bars, states
        q = self.wave_number
        # summed: of A, so each state carries q; each: of the product qA, finite at q = 0
        numerator = _outer(out_bar, outputs, each=each) - _outer(in_bar, inputs, each=each)
        numerator += _outer(first_bar[:, :, None], first[:, :, None], each=each)
        numerator -= _outer(end_bar[:, :, None], end[:, :, None], each=each)
        difference = self.positions[:, :, None] - self.positions[:, None, :]
        span = self.duration[:, None] * (q.abs() if each else q.abs().amax(1, keepdim=True))
        phase = span[:, :, None, None] * difference[:, None]
        near = phase.abs() < _NEAR
        scale = (q if each else torch.ones_like(span))[:, :, None, None] * difference[:, None]
        divided = numerator / torch.where(near, torch.ones_like(scale), scale)
        time = (self.duration[:, None] / m) * (torch.ones_like(q) if each else q)
        derivative = self._derivative(bars, states, time, near, each=each)
        return torch.where(near, derivative, divided)

    def _derivative(
        self, bars: tuple[Tensor, ...], states: tuple[Tensor, ...], time: Tensor, near: Tensor, *, each: bool
    ) -> Tensor:
        """½ Σ t Im(in̄* ⊗ in + out̄* ⊗ out) over the phase factors, each of duration t, (G, C or 1, n, n)."""
        (first_bar, in_bar, out_bar, end_bar), (first, inputs, outputs, end) = bars, states
        t = time[:, None, None, :] / 2
        outputs_t, inputs_t = outputs * (-1j * t), inputs * (-1j * t)
        outputs_t[:, :, -1] /= 2
        inputs_t[:, :, 0] /= 2
        ends = -1j * t[:, :, 0] / 2
        off_diagonal = near.sum() > near[..., 0].numel()
        product = _outer if off_diagonal else _outer_diagonal
        total = product(out_bar, outputs_t, each=each) + product(in_bar, inputs_t, each=each)
        total += product(first_bar[:, :, None], (ends * first)[:, :, None], each=each)
        total += product(end_bar[:, :, None], (ends * end)[:, :, None], each=each)
        return total

    def _conjugate(self, matrices: Tensor) -> Tensor:
        """W X Wᵀ for X (G, C or 1, n, n): from the basis of A to that of modes."""
        W = self.rotation[:, None]
        return W @ matrices @ W.mT


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


def divided_exponential(rates: Tensor, time: Tensor) -> Tensor:
    """Return (e^{−tλᵢ} − e^{−tλⱼ})/(λᵢ − λⱼ) for `rates` (n,) and `time` (...), shape (..., n, n)."""
    t = time[..., None, None]
    high, low = torch.maximum(rates[:, None], rates), torch.minimum(rates[:, None], rates)
    gap = t * (high - low)
    # (1 − e^{−x})/x is smooth; expm1 keeps it exact for small x
    ratio = torch.where(gap > 0, -torch.expm1(-gap) / gap.clamp(min=1e-300), torch.ones_like(gap))
    return -t * torch.exp(-t * low) * ratio


def _weights(steps: tuple[int, ...]) -> list[float]:
    weights = []
    for k in steps:
        weight = 1.0
        for l in steps:
            if l != k:
                weight *= k**2 / (k**2 - l**2)
        weights.append(weight)
    return weights


def _extrapolate(runs: list[Tensor], steps: tuple[int, ...]) -> Tensor:
    weighted = [w * run for w, run in zip(_weights(steps), runs, strict=True)]
    return torch.stack(weighted).sum(0)


def _multiply(matrix: Tensor, state: Tensor) -> Tensor:
    """Real (G, n, n) times complex (G, n, C) as one real product of twice the columns."""
    columns = torch.view_as_real(state.contiguous()).flatten(2)
    return torch.view_as_complex((matrix @ columns).unflatten(2, (-1, 2)))


def _outer(bar: Tensor, state: Tensor, *, each: bool) -> Tensor:
    """Re(bar* ⊗ state) of (G, n, m, C), summed over m and, unless `each`, over C: (G, C or 1, n, n)."""
    if each:
        bar, state = (x.permute(0, 3, 1, 2) for x in (bar, state))
        left, right = (torch.view_as_real(x.contiguous()).flatten(3) for x in (bar, state))
        return left @ right.mT
    left, right = (torch.view_as_real(x.contiguous()).flatten(2) for x in (bar, state))
    return (left @ right.mT)[:, None]


def _outer_diagonal(bar: Tensor, state: Tensor, *, each: bool) -> Tensor:
    """Return the diagonal of `_outer` alone, as a matrix."""
    terms = (bar.conj() * state).real.sum(2)
    diagonal = terms.mT if each else terms.sum(2)[:, None]
    return torch.diag_embed(diagonal)

r"""`BlochTorrey`: time stepping on all nodes, the reference for matrix formalism.

The implicit midpoint rule, second order, symmetric in time and stable for every step: with K = S + i q f J
and f the mean of the waveform over the step h,

    (M + h/2 K) w = M ξ,     ξ ← 2w − ξ.

Runs with steps h and h/2 extrapolate to fourth order, and h is halved until that changes by less than the
tolerance. The adjoint is the same rule with the same factors, run back from stored states.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acquisition import Acquisition
from ..errors import AccuracyWarning, InputError
from ..fem.assembly import assemble
from ..fem.factorise import factorise
from ..fem.space import FunctionSpace
from ..mesh import TetMesh
from .coarse_mesh import warn_coarse_mesh
from .operators import Domain, geometry_of, uniform_rate
from .timing import Timing, timings
from .tissue import Tissue

_LONGEST_STEP = 0.5
"""ms; the first step is at most this, and at most a third of a part of a pulse."""

_MOST_HALVINGS = 10

_SEGMENT = 4_000_000
"""Complex numbers of the states that a backward pass keeps at once: 64 MB."""


@dataclass(frozen=True, kw_only=True)
class BlochTorrey:
    """Finite elements in space, the implicit midpoint rule in time; slow, and without modes to cut.

    Parameters
    ----------
    tolerance : float
        Wanted error in time over S(0) of each measurement.
    order : {1, 2}
        Order of the finite elements.

    Raises
    ------
    InputError
        When the tolerance is not between 0 and 1, or the order is neither 1 nor 2.
    """

    tolerance: float = 1e-4
    order: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise InputError(f"BlochTorrey: tolerance is {self.tolerance}, expected between 0 and 1")
        if self.order not in (1, 2):
            raise InputError(f"BlochTorrey: order is {self.order}, expected 1 or 2")

    def signal(self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> Tensor:
        """Return ∫ρM (N,), µm³, complex; see `torrey.simulate`."""
        warn_coarse_mesh(mesh, acquisition, self.order, stacklevel=4)
        domain = Domain.of(mesh, tissue, order=self.order)
        geometry, _ = geometry_of(mesh, tissue, domain)
        values = assemble(domain.space, geometry)
        q = acquisition.wave_vectors.to(values.mass)
        signal = q.new_zeros(len(q), dtype=torch.complex128)
        for timing, rows in timings(acquisition):
            here = rows.to(q.device)
            march = _March(domain.space, timing, self.tolerance)
            signal = signal.index_put((here,), _MarchAll.apply(*values, q[here], march))
        return torch.exp(-acquisition.echo_time * uniform_rate(tissue)) * signal


class _Step(NamedTuple):
    """Its length, ms, and the mean of the waveform over it."""

    length: float
    gradient: float


class _March(NamedTuple):
    space: FunctionSpace
    timing: Timing
    tolerance: float

    def steps(self, longest: float) -> list[_Step]:
        """Return steps of at most `longest` ms, equal in each part of the waveform."""
        steps = []
        for interval in self.timing.intervals:
            span = interval.end - interval.start
            count = max(3 if interval.pulse else 1, math.ceil(span / longest * (1 - 1e-9)))
            edges = torch.linspace(interval.start, interval.end, count + 1, dtype=torch.float64)
            means = self.timing.integral(interval, edges) * count / span
            steps += [_Step(round(span / count, 12), round(f, 12)) for f in means.tolist()]
        return steps


class _Matrices(NamedTuple):
    """M, S and q·J of one measurement, sparse."""

    mass: csc_array
    stiffness: csc_array
    turning: csc_array

    def solver(self) -> Callable[[_Step], Callable[[np.ndarray], np.ndarray]]:
        """Return step ↦ (x ↦ (M + h/2 K)⁻¹x); K of the opposite gradient is the conjugate."""
        factors: dict[tuple[float, float], Callable[[np.ndarray], np.ndarray]] = {}

        def of(step: _Step) -> Callable[[np.ndarray], np.ndarray]:
            h, f = step.length, abs(step.gradient)
            if (h, f) not in factors:
                matrix = self.mass + h / 2 * self.stiffness
                factors[h, f] = factorise(csc_array(matrix + 0.5j * h * f * self.turning))
            solve = factors[h, f]
            return solve if step.gradient >= 0 else lambda x: solve(x.conj()).conj()

        return of


def _forward(
    matrices: _Matrices, steps: list[_Step], *, keep: int | None = None
) -> tuple[complex, list[np.ndarray]]:
    """Return 1ᵀMξ after all `steps`, and ξ before every `keep`-th step."""
    solver = matrices.solver()
    state = np.ones(matrices.mass.shape[0], dtype=complex)
    kept = []
    for j, step in enumerate(steps):
        if keep is not None and j % keep == 0:
            kept.append(state)
        state = 2 * solver(step)(matrices.mass @ state) - state
    return complex((matrices.mass @ state).sum()), [*kept, state]


class _Slope(NamedTuple):
    """Derivative of a signal in the pair values of M, S and q·J (Z,), and in q (3,), complex."""

    mass: np.ndarray
    stiffness: np.ndarray
    turning: np.ndarray


def _backward(matrices: _Matrices, steps: list[_Step], pairs: np.ndarray) -> _Slope:
    """Return the derivative of 1ᵀMξ, keeping states of one segment of steps at a time."""
    n_nodes = matrices.mass.shape[0]
    length = max(1, min(len(steps), _SEGMENT // (3 * n_nodes)))
    _, kept = _forward(matrices, steps, keep=length)
    *starts, end = kept
    solver = matrices.solver()
    ones = np.ones(n_nodes)
    slope = _Slope(
        _at_pairs(pairs, ones[None], end[None]), *(np.zeros(len(pairs), complex) for _ in range(2))
    )
    adjoint = (matrices.mass @ ones).astype(complex)
    for segment in reversed(range(len(starts))):
        part = steps[segment * length : (segment + 1) * length]
        state, states, middles = starts[segment], [], []
        for step in part:
            states.append(state)
            middles.append(solver(step)(matrices.mass @ state))
            state = 2 * middles[-1] - state
        pulled: list[np.ndarray] = []
        for step in reversed(part):
            z = solver(step)(adjoint)
            pulled.insert(0, z)
            adjoint = 2 * (matrices.mass @ z) - adjoint
        z, x, w = np.array(pulled), np.array(states), np.array(middles)
        h = np.array([step.length for step in part])[:, None]
        f = np.array([step.gradient for step in part])[:, None]
        # of ds = 2 zᵀ(dM (ξ − w) − h/2 (dS + i f d(qJ)) w)
        slope.mass[:] += _at_pairs(pairs, 2 * z, x - w)
        slope.stiffness[:] += _at_pairs(pairs, -h * z, w)
        slope.turning[:] += _at_pairs(pairs, -1j * h * f * z, w)
    return slope


def _at_pairs(pairs: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the derivative (Z,) of Σ leftᵀ A right over rows, (s, nodes) each, in the pair values of A."""
    i, j = pairs.T
    total = np.zeros(len(pairs), dtype=complex)
    for a, b in zip(left, right, strict=True):
        total += a[i] * b[j] + np.where(i == j, 0, a[j] * b[i])
    return total


class _MarchAll(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any, mass: Tensor, stiffness: Tensor, moments: Tensor, wave_vectors: Tensor, march: _March
    ) -> Tensor:
        ctx.save_for_backward(mass, stiffness, moments, wave_vectors)
        ctx.march, ctx.longest, signals = march, [], []
        for q in wave_vectors:
            matrices = _matrices(march.space, mass, stiffness, moments, q)
            signal, longest = _accurate(march, matrices)
            signals.append(signal)
            ctx.longest.append(longest)
        return torch.tensor(signals, dtype=torch.complex128, device=mass.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        mass, stiffness, moments, wave_vectors = ctx.saved_tensors
        march: _March = ctx.march
        pairs = march.space.pairs.cpu().numpy()
        bars = [torch.zeros_like(t) for t in (mass, stiffness, moments, wave_vectors)]
        for row, (q, bar, longest) in enumerate(
            zip(wave_vectors, cotangent.tolist(), ctx.longest, strict=True)
        ):
            matrices = _matrices(march.space, mass, stiffness, moments, q)
            for refined, weight in ((1, -1 / 3), (2, 4 / 3)):
                slope = _backward(matrices, march.steps(longest / refined), pairs)
                real = [torch.from_numpy((weight * np.conj(bar) * part).real).to(mass) for part in slope]
                bars[0] += real[0]
                bars[1] += real[1]
                bars[2] += q[:, None] * real[2]
                bars[3][row] += moments @ real[2]
        return *bars, None


def _matrices(space: FunctionSpace, mass: Tensor, stiffness: Tensor, moments: Tensor, q: Tensor) -> _Matrices:
    return _Matrices(*(space.matrix(values) for values in (mass, stiffness, q @ moments)))


def _accurate(march: _March, matrices: _Matrices) -> tuple[complex, float]:
    """Return the extrapolated signal and the longest step of the coarser of its two runs."""
    content = float(matrices.mass.sum())
    longest = _LONGEST_STEP
    coarse, fine = (_forward(matrices, march.steps(step))[0] for step in (longest, longest / 2))
    signal = (4 * fine - coarse) / 3
    for _ in range(_MOST_HALVINGS):
        longest, coarse, before = longest / 2, fine, signal
        fine, _ = _forward(matrices, march.steps(longest / 2))
        signal = (4 * fine - coarse) / 3
        # at fourth order the error left is a fifteenth of it
        error = abs(signal - before) / content
        if error <= march.tolerance:
            return signal, longest
    warnings.warn(
        f"steps of {longest / 2:.2g} ms are too long: estimated error {error:.1e} of S(0), expected at most "
        f"{march.tolerance:g}",
        AccuracyWarning,
        stacklevel=2,
    )
    return signal, longest

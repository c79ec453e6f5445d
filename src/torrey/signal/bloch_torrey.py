r"""`BlochTorrey`: time stepping on all nodes, the reference for matrix formalism.

The implicit midpoint rule, second order, symmetric in time and stable for every step: with K = S + i q·J and
q the mean of the wave vector over the step h,

    (M + h/2 K) w = M ξ,     ξ ← 2w − ξ.

Runs with steps h and h/2 extrapolate to fourth order, and h is halved until that changes by less than the
tolerance. The adjoint is the same rule with the same factors, run back from stored states.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
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
from .timing import PulseTiming, RasterTiming, Step, pulse_timings, raster_timings
from .tissue import Tissue

_LONGEST_STEP = 0.5
"""ms; the first step is at most this, and at most a third of a part of a pulse."""

_MOST_HALVINGS = 10

_KEPT_FACTORS = 24
"""Factorisations kept for steps to come: those of a pulse and of pauses come again."""

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
        domain = Domain.of(mesh, tissue, order=self.order)
        warn_coarse_mesh(mesh, acquisition, self.order, stacklevel=4)
        whole = torch.ones(1, domain.space.n_nodes, dtype=torch.float64)
        return self._integrals(mesh, tissue, acquisition, domain, whole)[:, 0]

    def compartment_signals(self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> Tensor:
        """Return ∫ρM of each compartment (N, C); see `torrey.simulate_compartments`."""
        domain = Domain.of(mesh, tissue, order=self.order)
        warn_coarse_mesh(mesh, acquisition, self.order, stacklevel=4)
        parts = domain.indicators(mesh.n_compartments)
        return self._integrals(mesh, tissue, acquisition, domain, parts)

    def _integrals(
        self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition, domain: Domain, parts: Tensor
    ) -> Tensor:
        """Return ∫ρM (N, K) over `parts` (K, nodes), which are one on their nodes."""
        geometry, _ = geometry_of(mesh, tissue, domain)
        values = assemble(domain.space, geometry)
        signal = values.mass.new_zeros(acquisition.n_measurements, len(parts), dtype=torch.complex128)
        courses: list[tuple[PulseTiming | RasterTiming, Tensor, Tensor]] = [
            *((t, rows, acquisition.wave_vectors[rows, None]) for t, rows in pulse_timings(acquisition)),
            *((t, rows, acquisition.free_wave_vectors(rows)) for t, rows in raster_timings(acquisition)),
        ]
        for timing, rows, q in courses:
            march = _March(domain.space, timing, parts.cpu().numpy(), self.tolerance)
            part = _MarchAll.apply(*values, q.to(values.mass), march)
            signal = signal.index_put((rows.to(signal.device),), part)
        return torch.exp(-acquisition.echo_time * uniform_rate(tissue))[:, None] * signal


class _March(NamedTuple):
    space: FunctionSpace
    timing: PulseTiming | RasterTiming
    parts: np.ndarray
    tolerance: float


Solve = Callable[[np.ndarray], np.ndarray]


class _Matrices(NamedTuple):
    """M, S and the three J, sparse, and the wave vectors q (K, 3) of the cells of one measurement."""

    mass: csc_array
    stiffness: csc_array
    moments: list[csc_array]
    q: np.ndarray

    def solver(self) -> Callable[[Step], Solve]:
        """Return step ↦ (x ↦ (M + h/2 K)⁻¹x); K of the opposite gradient is the conjugate."""

        @lru_cache(maxsize=_KEPT_FACTORS)
        def factor(h: float, *q: float) -> Solve:
            turning = sum(part * J for part, J in zip(q, self.moments, strict=True))
            return factorise(csc_array(self.mass + h / 2 * self.stiffness + 0.5j * h * turning))

        def of(step: Step) -> Solve:
            q = step.scale * self.q[step.cell]
            opposite = bool(q[np.abs(q).argmax()] < 0)
            solve = factor(step.length, *np.where(opposite, -q, q).tolist())
            return (lambda x: solve(x.conj()).conj()) if opposite else solve

        return of


def _forward(
    matrices: _Matrices, steps: list[Step], *, keep: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return Mξ (nodes,) after all `steps`, and ξ before every `keep`-th step."""
    solver = matrices.solver()
    state = np.ones(matrices.mass.shape[0], dtype=complex)
    kept = []
    for j, step in enumerate(steps):
        if keep is not None and j % keep == 0:
            kept.append(state)
        state = 2 * solver(step)(matrices.mass @ state) - state
    return matrices.mass @ state, [*kept, state]


class _Slope(NamedTuple):
    """Derivative of an integral in pair values of M, S (Z,) and the J (3, Z), and in q (K, 3), complex."""

    mass: np.ndarray
    stiffness: np.ndarray
    moments: np.ndarray
    q: np.ndarray


def _backward(matrices: _Matrices, steps: list[Step], pairs: np.ndarray, weights: np.ndarray) -> _Slope:
    """Return the derivative of wᵀMξ, `weights` w (nodes,), keeping states of a segment of steps at a time."""
    n_nodes = matrices.mass.shape[0]
    length = max(1, min(len(steps), _SEGMENT // (3 * n_nodes)))
    _, kept = _forward(matrices, steps, keep=length)
    *starts, end = kept
    solver = matrices.solver()
    slope = _Slope(
        _at_pairs(pairs, weights, end),
        np.zeros(len(pairs), complex),
        np.zeros((3, len(pairs)), complex),
        np.zeros(matrices.q.shape, complex),
    )
    adjoint = matrices.mass @ weights
    for segment in reversed(range(len(starts))):
        part = steps[segment * length : (segment + 1) * length]
        state, states, middles = starts[segment], [], []
        for step in part:
            states.append(state)
            middles.append(solver(step)(matrices.mass @ state))
            state = 2 * middles[-1] - state
        for step, before, middle in zip(reversed(part), reversed(states), reversed(middles), strict=True):
            z = solver(step)(adjoint)
            adjoint = 2 * (matrices.mass @ z) - adjoint
            # of ds = 2 zᵀ(dM (ξ − w) − h/2 (dS + i d(q·J)) w)
            slope.mass[:] += _at_pairs(pairs, 2 * z, before - middle)
            pulled = _at_pairs(pairs, -step.length * z, middle)
            slope.stiffness[:] += pulled
            slope.moments[:] += 1j * step.scale * matrices.q[step.cell][:, None] * pulled
            turned = [z @ (J @ middle) for J in matrices.moments]
            slope.q[step.cell] += -1j * step.length * step.scale * np.array(turned)
    return slope


def _at_pairs(pairs: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the derivative (Z,) of leftᵀ A right, (nodes,) each, in the pair values of A."""
    i, j = pairs.T
    values: np.ndarray = left[i] * right[j] + np.where(i == j, 0, left[j] * right[i])
    return values


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
        return torch.from_numpy(np.stack(signals)).to(mass.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        mass, stiffness, moments, wave_vectors = ctx.saved_tensors
        march: _March = ctx.march
        pairs = march.space.pairs.cpu().numpy()
        bars = [torch.zeros_like(t) for t in (mass, stiffness, moments, wave_vectors)]
        cotangents = cotangent.conj().resolve_conj().cpu().numpy()
        for row, (q, bar, longest) in enumerate(zip(wave_vectors, cotangents, ctx.longest, strict=True)):
            matrices = _matrices(march.space, mass, stiffness, moments, q)
            for refined, weight in ((1, -1 / 3), (2, 4 / 3)):
                steps = march.timing.steps(longest / refined)
                slope = _backward(matrices, steps, pairs, bar @ march.parts)
                real = [torch.from_numpy(weight * part.real).to(mass) for part in slope]
                for total, part in zip((*bars[:3], bars[3][row]), real, strict=True):
                    total.add_(part)
        return *bars, None


def _signals(march: _March, matrices: _Matrices, longest: float) -> np.ndarray:
    """Return the integrals (K,) over the parts, by steps of at most `longest` ms."""
    density, _ = _forward(matrices, march.timing.steps(longest))
    signals: np.ndarray = march.parts @ density
    return signals


def _matrices(space: FunctionSpace, mass: Tensor, stiffness: Tensor, moments: Tensor, q: Tensor) -> _Matrices:
    M, S, *J = (space.matrix(values) for values in (mass, stiffness, *moments))
    return _Matrices(M, S, J, q.cpu().numpy())


def _accurate(march: _March, matrices: _Matrices) -> tuple[np.ndarray, float]:
    """Return the extrapolated signals (K,) and the longest step of the coarser of its two runs."""
    content = float(matrices.mass.sum())
    longest = _LONGEST_STEP
    coarse, fine = (_signals(march, matrices, step) for step in (longest, longest / 2))
    signal = (4 * fine - coarse) / 3
    for _ in range(_MOST_HALVINGS):
        longest, coarse, before = longest / 2, fine, signal
        fine = _signals(march, matrices, longest / 2)
        signal = (4 * fine - coarse) / 3
        # at fourth order the error left is a fifteenth of it
        error = float(np.abs(signal - before).max()) / content
        if error <= march.tolerance:
            return signal, longest
    warnings.warn(
        f"steps of {longest / 2:.2g} ms are too long: estimated error {error:.1e} of S(0), expected at most "
        f"{march.tolerance:g}",
        AccuracyWarning,
        stacklevel=2,
    )
    return signal, longest

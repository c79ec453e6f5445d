"""`BlochTorrey`: time stepping on all nodes, the reference for matrix formalism.

Runs of `midpoint` with steps h and h/2 extrapolate to fourth order, and h is halved until that changes by
less than the tolerance. Derivatives, in reverse and in forward mode, are those of these steps.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..acquisition import Acquisition
from ..errors import AccuracyWarning, InputError
from ..fem.assembly import PairValues, assemble
from ..fem.space import FunctionSpace
from ..mesh import TetMesh
from .coarse_mesh import warn_coarse_mesh
from .midpoint import Matrices, midpoint_adjoint, midpoint_run, midpoint_tangent
from .operators import Domain, geometry_of, uniform_rate
from .timing import PulseTiming, RasterTiming, pulse_timings, raster_timings
from .tissue import Tissue

_LONGEST_STEP = 0.5
"""ms; the first step is at most this, and at most a third of a part of a pulse."""

_MOST_HALVINGS = 10


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


class _MarchAll(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 (torch passes them by position)
        ctx: Any, mass: Tensor, stiffness: Tensor, moments: Tensor, wave_vectors: Tensor, march: _March
    ) -> Tensor:
        ctx.save_for_backward(mass, stiffness, moments, wave_vectors)
        ctx.save_for_forward(mass, stiffness, moments, wave_vectors)
        ctx.march, ctx.longest, signals = march, [], []
        values = PairValues(mass, stiffness, moments)
        for q in wave_vectors:
            matrices = Matrices.of(march.space, values, q)
            signal, longest = _accurate(march, matrices)
            signals.append(signal)
            ctx.longest.append(longest)
        return torch.from_numpy(np.stack(signals)).to(mass.device)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        march: _March = ctx.march
        *saved, wave_vectors = ctx.saved_tensors
        *moved, wave_change, _ = tangents
        values, changes = PairValues(*saved), PairValues(*moved)
        slopes = []
        for q, q_change, longest in zip(wave_vectors, wave_change, ctx.longest, strict=True):
            matrices = Matrices.of(march.space, values, q)
            change = Matrices.of(march.space, changes, q_change)
            coarse, fine = (
                midpoint_tangent(matrices, change, march.timing.steps(step))
                for step in (longest, longest / 2)
            )
            slopes.append(march.parts @ (4 * fine - coarse) / 3)
        return torch.from_numpy(np.stack(slopes)).to(wave_vectors.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        *values, wave_vectors = ctx.saved_tensors
        march: _March = ctx.march
        pairs = march.space.pairs.cpu().numpy()
        bars = [torch.zeros_like(t) for t in (*values, wave_vectors)]
        cotangents = cotangent.conj().resolve_conj().cpu().numpy()
        for row, (q, bar, longest) in enumerate(zip(wave_vectors, cotangents, ctx.longest, strict=True)):
            matrices = Matrices.of(march.space, PairValues(*values), q)
            for refined, weight in ((1, -1 / 3), (2, 4 / 3)):
                steps = march.timing.steps(longest / refined)
                slope = midpoint_adjoint(matrices, steps, pairs, bar @ march.parts)
                real = [torch.from_numpy(weight * part.real).to(wave_vectors) for part in slope]
                for total, part in zip((*bars[:3], bars[3][row]), real, strict=True):
                    total.add_(part)
        return *bars, None


def _accurate(march: _March, matrices: Matrices) -> tuple[np.ndarray, float]:
    """Return the extrapolated signals (K,) and the longest step of the coarser of its two runs."""

    def run(longest: float) -> np.ndarray:
        density, _ = midpoint_run(matrices, march.timing.steps(longest))
        signals: np.ndarray = march.parts @ density
        return signals

    content = float(matrices.mass.sum())
    longest = _LONGEST_STEP
    coarse, fine = run(longest), run(longest / 2)
    signal = (4 * fine - coarse) / 3
    for _ in range(_MOST_HALVINGS):
        longest, coarse, before = longest / 2, fine, signal
        fine = run(longest / 2)
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

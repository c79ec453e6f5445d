r"""`Karger`: exchange between compartments that are each one pool, the classical approximation.

The signals S_i of the compartments obey, with F the running integral of the gradient's time course,

    dS_i/dt = −q²F(t)² D_i S_i − r_i S_i + Σ_j (k_ji S_j − k_ij S_i),

D_i the apparent diffusion coefficient along the gradient, r_i the relaxation and k_ij = 1/τ_ij the exchange
rates (Kärger, Adv. Colloid Interface Sci. 23, 129 (1985)); where the gradient turns in space, q²F²D_i is
(qF)ᵀD_i(qF). It holds where spins cross a compartment far sooner than they leave it, κR/D ≪ 1, and while the
signal of each compartment is Gaussian in q.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..acquisition.checks import float64
from ..errors import AccuracyWarning, InputError
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from .groups import chunks
from .karger_steps import Piece, pulse_pieces, raster_pieces
from .operators import Domain, geometry_of
from .timing import pulse_timings, raster_timings
from .tissue import Tissue

TOLERANCE = 1e-9
"""Wanted error in time over S(0)."""

_FIRST, _MOST = 4, 512
"""Steps of a part of a pulse, or of a cell of a raster: at first, and at most; of a cell one at first."""

_ROUNDING = 1e-12
"""Negative eigenvalues of a diffusivity, over its largest entry, that are none."""

_BALANCE = 1e-6
"""Relative difference of the fluxes of a pair at equilibrium above which rates contradict magnetisations."""


@dataclass(frozen=True, eq=False)
class Karger:
    """Magnetisation, exchange and relaxation of C compartments.

    Parameters
    ----------
    magnetisation : (C,) array_like
        ρ_i|Ω_i|, the signals at excitation, µm³ or any unit.
    exchange : (C, C) array_like
        Rates k_ij = 1/τ_ij from i to j, 1/ms, with magnetisation_i k_ij = magnetisation_j k_ji; the diagonal
        does not count.
    relaxation : float or (C,) array_like
        r_i = 1/T2_i, 1/ms.

    Raises
    ------
    InputError
        When a shape is wrong, a value negative or not finite, or equilibrium would not last.
    """

    magnetisation: Tensor
    exchange: Tensor
    relaxation: Tensor

    def __init__(self, *, magnetisation: object, exchange: object, relaxation: object = 0.0) -> None:
        m, k = float64(magnetisation, "magnetisation"), float64(exchange, "exchange")
        r = float64(relaxation, "relaxation")
        if m.ndim != 1 or k.shape != (len(m), len(m)) or r.shape not in {(), m.shape}:
            raise InputError(
                "Karger: expected magnetisation (C,), exchange (C, C) and relaxation () or (C,), "
                f"got {tuple(m.shape)}, {tuple(k.shape)} and {tuple(r.shape)}"
            )
        for name, value in (("magnetisation", m), ("exchange", k), ("relaxation", r)):
            if not bool((value >= 0).all() and torch.isfinite(value).all()):
                raise InputError(f"Karger: {name} is {value.tolist()}, expected finite and not negative")
        flux = (m[:, None] * k).detach()
        if float((flux - flux.T).abs().max()) > _BALANCE * float(flux.max()):
            raise InputError(
                f"Karger: magnetisation_i exchange_ij is {flux.tolist()}, expected the same from i to j "
                "and back"
            )
        object.__setattr__(self, "magnetisation", m)
        object.__setattr__(self, "exchange", k - torch.diag(k.diagonal()))
        object.__setattr__(self, "relaxation", r.expand_as(m))

    @classmethod
    def of(cls, mesh: TetMesh, tissue: Tissue) -> Karger:
        """Measure the compartments of `mesh`.

        k_ij = κ c_ji |Γ_ij|/|Ω_i| with c_ji = 2ρ_j/(ρ_i + ρ_j), which keeps M ∝ ρ in equilibrium as in
        `torrey.simulate`, and r_i = 1/T2_i + (surface relaxivity) |Γ_i|/|Ω_i|. Gradients flow to the vertices
        and to all values of `tissue` but the diffusivity, which `signal` takes.

        Raises
        ------
        InputError, MeshError
            As for `torrey.simulate`.
        """
        require_valid(mesh)
        domain = Domain.of(mesh, tissue, order=1)
        geometry, _ = geometry_of(mesh, tissue, domain)
        split, zeros = domain.split, geometry.volume.new_zeros(mesh.n_compartments)
        magnetisation = zeros.index_add(0, domain.compartments, geometry.volume)
        own = [int((split.wall_compartments == c).sum()) for c in tissue.surface_relaxivity]
        uptake = zeros
        for c, walls in zip(tissue.surface_relaxivity, geometry.uptake.split(own), strict=True):
            uptake = uptake.index_put((torch.tensor(c),), walls.sum())
        faces = [len(split.between(*pair)) for pair in tissue.permeability]
        exchange = torch.diag(zeros)
        for (i, j), flux in zip(tissue.permeability, geometry.exchange.split(faces), strict=True):
            both = torch.tensor([[i, j], [j, i]])
            exchange = exchange.index_put(tuple(both), flux.sum() / magnetisation[both[0]])
        relaxation = (1 / tissue.T2).to(zeros) + uptake / magnetisation
        return cls(magnetisation=magnetisation, exchange=exchange, relaxation=relaxation)

    def signal(self, diffusivity: object, acquisition: Acquisition) -> Tensor:
        """Return the signal of each compartment at the echo (N, C); their sum is what is measured.

        Parameters
        ----------
        diffusivity : (C,), (C, 3, 3) or (N, C) array_like
            D_i, µm²/ms: in all directions, as matrices, or for each measurement, as
            `compartment_diffusion` of the mesh without permeabilities gives it.
        acquisition : Acquisition
            N measurements with any waveforms, centred in the echo time.

        Returns
        -------
        (N, C) Tensor
            In the unit of the magnetisation. Gradients flow to all values, gradient vectors and samples.

        Raises
        ------
        InputError
            When the diffusivity has another shape, or a negative or infinite value.

        Warns
        -----
        AccuracyWarning
            When the steps in time are too few, with the estimated error.
        """
        D = self._checked(diffusivity, acquisition)
        signal = self.magnetisation.new_zeros(acquisition.n_measurements, len(self.magnetisation))
        q = acquisition.wave_vectors.to(signal)
        for timing, rows in pulse_timings(acquisition):
            for few in self._chunks(rows):
                rates = _form(q[few], _of_rows(D, few))
                signal = signal.index_put((few,), self._run(partial(pulse_pieces, timing, rates), _FIRST))
        for raster, rows in raster_timings(acquisition):
            for few in self._chunks(rows):
                gradient = acquisition.free_wave_vectors(few).to(signal)
                form = partial(_form, D=_of_rows(D, few))
                signal = signal.index_put(
                    (few,), self._run(partial(raster_pieces, raster, gradient, form), 1)
                )
        return signal

    def _chunks(self, rows: Tensor) -> Iterator[Tensor]:
        for few in chunks(len(rows), _MOST * self.exchange.numel()):
            yield rows[few].to(self.magnetisation.device)

    def _checked(self, diffusivity: object, acquisition: Acquisition) -> Tensor:
        """Return the diffusivity as (C, 3, 3) or (N, C)."""
        D = float64(diffusivity, "diffusivity").to(self.magnetisation)
        count, N = len(self.magnetisation), acquisition.n_measurements
        if D.shape not in {(count,), (count, 3, 3), (N, count)}:
            raise InputError(
                f"diffusivity: expected ({count},), ({count}, 3, 3) or ({N}, {count}), got {tuple(D.shape)}"
            )
        values = D.detach()
        finite = bool(torch.isfinite(values).all())
        if not finite or _least(values) < -_ROUNDING * float(values.abs().max()):
            raise InputError(f"diffusivity: expected finite and not negative (µm²/ms), got {D.tolist()}")
        return D.expand(N, count) if D.ndim == 1 else D

    def _run(self, pieces: Callable[[int], Iterator[Piece]], first: int) -> Tensor:
        """Return the signals (k, C) for steps ↦ `pieces`, from `first` steps until the tolerance is met.

        The steps are symmetric in time, so that the error has even powers of their number, the fourth first.
        """
        count, coarse = first, self._march(pieces(first))
        while True:
            count, fine = 2 * count, self._march(pieces(2 * count))
            correction = (fine - coarse) / 15
            error = float(correction.detach().abs().max() / self.magnetisation.detach().sum())
            if error <= TOLERANCE:
                return fine + correction
            if count >= _MOST:
                warnings.warn(
                    f"Karger: {count} steps a pulse are too few: estimated error {error:.1e} of S(0), "
                    f"expected at most {TOLERANCE:g}",
                    AccuracyWarning,
                    stacklevel=3,
                )
                return fine + correction
            coarse = fine

    def _march(self, pieces: Iterator[Piece]) -> Tensor:
        """Return the signals (k, C) by a Magnus step of fourth order for each step of the `pieces`.

        With A(t) = X − B(t), B diagonal, the values at the two Gauss points of a step h give the exponent
        h(A₁ + A₂)/2 − √3h²[A₁, A₂]/12, and [A₁, A₂] = [B₂ − B₁, X]. It is exact where B is constant.
        """
        X = self.exchange.T - torch.diag(self.relaxation + self.exchange.sum(1))
        state = self.magnetisation[:, None]
        for h, first, second in pieces:
            change = second - first
            commutator = (change[..., :, None] - change[..., None, :]) * X
            exponents = h * (X - torch.diag_embed((first + second) / 2))
            exponents = exponents - h**2 * math.sqrt(3) / 12 * commutator
            for factor in torch.linalg.matrix_exp(exponents):
                state = factor @ state
        return state[..., 0]


def _least(D: Tensor) -> float:
    """Return the least diffusivity in any direction of D (C, 3, 3), or of (...)."""
    return float((torch.linalg.eigvalsh(D) if D.ndim == 3 else D).min())


def _of_rows(D: Tensor, rows: Tensor) -> Tensor:
    """Return what of D, (C, 3, 3) or (N, C), belongs to `rows` (k,)."""
    return D if D.ndim == 3 else D[rows]


def _form(q: Tensor, D: Tensor) -> Tensor:
    """Return qᵀD_i q (..., k, C) of q (..., k, 3) for D (C, 3, 3) or (k, C)."""
    if D.ndim == 3:
        return torch.einsum("...ki,cij,...kj->...kc", q, D, q)
    return q.square().sum(-1, keepdim=True) * D

r"""`Karger`: exchange between compartments that are each one pool, the classical approximation.

The signals S_i of the compartments obey, with F the running integral of the gradient's time course,

    dS_i/dt = −q²F(t)² D_i S_i − r_i S_i + Σ_j (k_ji S_j − k_ij S_i),

D_i the apparent diffusion coefficient along the gradient, r_i the relaxation and k_ij = 1/τ_ij the exchange
rates (Kärger, Adv. Colloid Interface Sci. 23, 129 (1985)). It holds where spins cross a compartment far
sooner than they leave it, κR/D ≪ 1, and while the signal of each compartment is Gaussian in q.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..acquisition.checks import float64
from ..errors import AccuracyWarning, InputError
from ..mesh import TetMesh
from ..mesh.validate import require_valid
from .groups import chunks
from .operators import Domain, geometry_of
from .timing import PulseTiming, pulse_timings
from .tissue import Tissue

TOLERANCE = 1e-9
"""Wanted error in time over S(0)."""

_FIRST, _MOST = 4, 512
"""Steps of a part of a pulse: at first, and at most."""

_GAUSS = math.sqrt(3) / 6
"""Distance of the Gauss points from the middle of a step of length one."""

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
            D_i, µm²/ms: in all directions, as matrices, or along each measurement, as
            `compartment_diffusion` of the mesh without permeabilities gives it.
        acquisition : Acquisition
            N measurements with pulses along one axis, centred in the echo time.

        Returns
        -------
        (N, C) Tensor
            In the unit of the magnetisation. Gradients flow to all values, and to the gradient vectors.

        Raises
        ------
        InputError
            When the diffusivity has another shape, or a negative or infinite value, or gradients turn in
            space.

        Warns
        -----
        AccuracyWarning
            When the steps in time are too few, with the estimated error.
        """
        acquisition.require_pulses("Kärger's model")
        rates = self._attenuation_rates(diffusivity, acquisition)
        signal = torch.zeros_like(rates)
        for timing, rows in pulse_timings(acquisition):
            for few in chunks(len(rows), _MOST * self.exchange.numel()):
                here = rows[few].to(rates.device)
                signal = signal.index_put((here,), self._run(timing, rates[here]))
        return signal

    def _attenuation_rates(self, diffusivity: object, acquisition: Acquisition) -> Tensor:
        """Return q²D_i (N, C), 1/ms³."""
        D, q = float64(diffusivity, "diffusivity"), acquisition.wave_vectors.to(self.magnetisation)
        count = len(self.magnetisation)
        if D.shape not in {(count,), (count, 3, 3), (len(q), count)}:
            raise InputError(
                f"diffusivity: expected ({count},), ({count}, 3, 3) or ({len(q)}, {count}), "
                f"got {tuple(D.shape)}"
            )
        rates = torch.einsum("ni,cij,nj->nc", q, D, q) if D.ndim == 3 else (q**2).sum(1, keepdim=True) * D
        if not bool((torch.isfinite(rates) & (rates >= 0)).all()):
            raise InputError(f"diffusivity: expected finite and not negative (µm²/ms), got {D.tolist()}")
        return rates

    def _run(self, timing: PulseTiming, rates: Tensor) -> Tensor:
        """Return the signals (k, C) for q²D_i = `rates` (k, C), with steps until the tolerance is met.

        The steps are symmetric in time, so that the error has even powers of their number, the fourth first.
        """
        count, coarse = _FIRST, self._march(timing, rates, _FIRST)
        while True:
            count, fine = 2 * count, self._march(timing, rates, 2 * count)
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

    def _march(self, timing: PulseTiming, rates: Tensor, count: int) -> Tensor:
        """Return the signals (k, C) by `count` Magnus steps of fourth order for each part of a pulse.

        With A(t) = X − F²B, the values of F at the two Gauss points of a step h give the exponent
        h(A₁ + A₂)/2 − √3h²[A₁, A₂]/12, and [A₁, A₂] = (F₂² − F₁²)[B, X]. It is exact where F is constant.
        """
        leaving = torch.diag(self.relaxation + self.exchange.sum(1))
        X = self.exchange.T - leaving
        B = torch.diag_embed(rates)
        commutator = B @ X - X @ B
        state, wound = self.magnetisation.expand(len(rates), -1)[..., None], 0.0
        for interval in timing.intervals:
            steps = count if interval.pulse else 1
            h = (interval.end - interval.start) / steps
            edges = interval.start + h * torch.arange(steps, dtype=torch.float64)[:, None]
            # the end of a step comes third, so that the next begins there
            points = edges + h * torch.tensor([0.5 - _GAUSS, 0.5 + _GAUSS, 1.0], dtype=torch.float64)
            times = torch.cat([torch.tensor([interval.start], dtype=torch.float64), points.ravel()])
            F = wound + timing.integral(interval, times).cumsum(0)
            first, second, _ = F.square().to(rates).view(steps, 3, 1, 1, 1).unbind(1)
            exponents = h * (X - (first + second) / 2 * B)
            exponents = exponents - h**2 * math.sqrt(3) / 12 * (second - first) * commutator
            for factor in torch.linalg.matrix_exp(exponents):
                state = factor @ state
            wound = float(F[-1])
        return state[..., 0]

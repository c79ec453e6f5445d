"""`MatrixFormalism`: signals from the lowest Laplace modes of the mesh."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..acquisition import AbstractWaveform, Acquisition, FreeWaveform, Pgse
from ..errors import AccuracyWarning, InputError
from ..fem.observers import reduced_observers
from ..fem.out_of_span import OutOfSpan
from ..fem.reduced import ModalBasis, ReducedModel, reduced_model
from ..mesh import TetMesh
from .coarse_mesh import warn_coarse_mesh
from .one_axis import one_axis_signal
from .operators import Domain, Operators, uniform_rate
from .pgse import pgse_signal
from .three_axes import three_axes_signal
from .tissue import Tissue

DEFAULT_TOLERANCE = 1e-4
"""Wanted truncation error over S(0) where the user names no cut."""

_COARSER = 1.5
"""The truncation estimate compares the cut λ with λ / 1.5, which keeps about half of the modes; the answer of
the whole set is better than that difference (`benchmarks/accuracy.py`)."""

_FIRST_CUT = 8 / 3
"""The first cut tried, in D̄ times the square of the phase that the strongest pulse winds along 1 µm."""

_TOO_FEW = 1e-2
"""Estimated error over S(0) above which a cut that the user chose gets a warning."""

_JUDGED = 16
"""Measurements that the truncation is judged on: so many of the largest |q|, and of those whose signal half
of the modes would attenuate most."""


@dataclass(frozen=True, kw_only=True)
class MatrixFormalism:
    """Finite elements in space, the lowest Laplace modes, exact evolution in time.

    Compartments, or groups of them, that exchange nothing with the rest are solved apart, and the cut is that
    of each.

    Parameters
    ----------
    modes : int, optional
        Keep this many modes (and as many more as complete a multiplet of equal eigenvalues).
    length_scale : float, optional
        ℓ in µm: keep the modes with λ ≤ D̄(π/ℓ)², D̄ the mean diffusivity.
    tolerance : float, optional
        Keep as many modes as make the estimated truncation error over S(0) smaller. The default, 1e-4, where
        none of the three is given.
    order : {1, 2}
        Order of the finite elements. 1 has a node at each vertex; 2 adds mid-edge nodes.
    exact_gradient : bool
        Whether gradients include the change of all modes outside their span: exact for the truncated model
        instead of within 1 %, at about the cost of the forward solve. That of the slow modes is always
        included where walls are permeable.

    Raises
    ------
    InputError
        When more than one cut is given, or a value is not positive.
    """

    modes: int | None = None
    length_scale: float | None = None
    tolerance: float | None = None
    order: int = 1
    exact_gradient: bool = False

    def __post_init__(self) -> None:
        cuts = {"modes": self.modes, "length_scale": self.length_scale, "tolerance": self.tolerance}
        given = {name: value for name, value in cuts.items() if value is not None}
        if len(given) > 1:
            raise InputError(f"MatrixFormalism: give one of modes, length_scale and tolerance, got {given}")
        for name, value in given.items():
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"MatrixFormalism: {name} is {value}, expected a positive number")
        if self.modes is not None and self.modes != int(self.modes):
            raise InputError(f"MatrixFormalism: modes is {self.modes}, expected a whole number")
        if self.order not in (1, 2):
            raise InputError(f"MatrixFormalism: order is {self.order}, expected 1 or 2")

    def signal(self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> Tensor:
        """Return ∫ρM (N,), µm³, complex; see `torrey.simulate`."""
        parts = Domain.parts_of(mesh, tissue, order=self.order)
        warn_coarse_mesh(mesh, acquisition, self.order, stacklevel=4)
        signal = torch.zeros((), dtype=torch.complex128)
        for domain in parts:
            _, part = self._solve(mesh, tissue, acquisition, domain)
            signal = signal.to(part.device) + part
        return torch.exp(-acquisition.echo_time * uniform_rate(tissue)) * signal

    def compartment_signals(self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> Tensor:
        """Return ∫ρM of each compartment (N, C); see `torrey.simulate_compartments`."""
        domains = Domain.parts_of(mesh, tissue, order=self.order)
        warn_coarse_mesh(mesh, acquisition, self.order, stacklevel=4)
        shape = acquisition.n_measurements, mesh.n_compartments
        signal = mesh.vertices.new_zeros(shape, dtype=torch.complex128)
        for domain in domains:
            own = torch.unique(domain.compartments)
            # what is alone is the whole of its domain
            parts = domain.indicators(mesh.n_compartments)[own] if len(own) > 1 else None
            _, part = self._solve(mesh, tissue, acquisition, domain, parts)
            columns = part.view(len(part), len(own))
            signal = signal.to(columns.device).index_add(1, own, columns)
        return torch.exp(-acquisition.echo_time * uniform_rate(tissue))[:, None] * signal

    def _out_of_span(self, domain: Domain) -> OutOfSpan:
        if self.exact_gradient:
            return "all"
        # what passes a wall is the jumps of the modes, which converge slowest of all
        return "slow" if len(domain.space.interfaces) else "none"

    def basis(self, mesh: TetMesh, tissue: Tissue, acquisition: Acquisition) -> ModalBasis:
        """Compute the modes that this cut keeps, of all compartments, and warn where it is too coarse."""
        domain = Domain.of(mesh, tissue, order=self.order)
        return self._solve(mesh, tissue, acquisition, domain)[0]

    def _solve(
        self,
        mesh: TetMesh,
        tissue: Tissue,
        acquisition: Acquisition,
        domain: Domain,
        parts: Tensor | None = None,
    ) -> tuple[ModalBasis, Tensor]:
        """Return the modes of a `domain` and ∫ρM (N,) in it, or (N, K) over its `parts` (K, nodes)."""
        operators = Operators.of(mesh, tissue, order=self.order, domain=domain)
        which = self._out_of_span(domain)
        for basis in self._bases(operators, acquisition):
            model = reduced_model(operators.geometry, basis, out_of_span=which)
            if parts is None:
                signal = _integrals(model, acquisition, rests=tissue.rests)
            else:
                observers = reduced_observers(operators.geometry, basis, parts, out_of_span=which)
                signal = _parts_integrals(model, acquisition, observers)
            error = truncation_error(basis, acquisition, signal, parts=parts, rests=tissue.rests)
            if error <= self._wanted:
                return basis, signal
        _warn_truncation(basis, error)
        return basis, signal

    @property
    def _wanted(self) -> float:
        """The truncation error at which to stop; without a tolerance it is one to warn of."""
        if self.modes is None and self.length_scale is None:
            return self.tolerance or DEFAULT_TOLERANCE
        return _TOO_FEW

    def _bases(self, operators: Operators, acquisition: Acquisition) -> Iterator[ModalBasis]:
        """Yield the modes of the cut, or more and more of them where it is a tolerance."""
        if self.modes is not None:
            yield operators.basis(count=self.modes)
            return
        if self.length_scale is not None:
            yield operators.basis(below=operators.rate_of(self.length_scale))
            return
        # a mode matters where a pulse winds a good part of a turn along its wavelength
        below = operators.mean_diffusivity * max(1.0, acquisition.largest_winding) ** 2 * _FIRST_CUT
        spectrum = operators.spectrum()
        while True:
            basis = operators.reduce(spectrum.lowest(below=below))
            yield basis
            # a gap in the spectrum may be wider than the factor
            below = max(_COARSER * float(basis.modes.values[basis.modes.n_modes - 1]), basis.modes.next_value)


def truncation_error(
    basis: ModalBasis,
    acquisition: Acquisition,
    signal: Tensor,
    *,
    parts: Tensor | None = None,
    rests: bool = True,
) -> float:
    """Estimate the largest error over S(0) that the cut leaves in the `signal` (N,), or in that of `parts`.

    The larger of two: what half of the modes would have changed, and what the missing modes take from the
    signal in second order of the gradient. The second sees the modes across a thin shape when only those
    along it are kept. Where relaxation differs from place to place they also miss a part of the uniform
    magnetisation, which is added.

    Parameters
    ----------
    basis : ModalBasis
        The kept modes.
    acquisition : Acquisition
        N measurements.
    signal : (N,) or (N, K) Tensor
        ∫M that they give, or its part over each of `parts`.
    parts : (K, nodes) Tensor, optional
        What the signal was integrated over, if not the whole.
    rests : bool
        Whether nothing changes without a gradient.
    """
    if basis.modes.complete:
        return 0.0
    model = basis.model
    rates = model.rates.diagonal()
    fewer = int((rates <= rates[-1] / _COARSER).sum())
    kept = signal.detach().reshape(len(signal), -1)
    size = kept.abs().amax(1)
    strength = acquisition.wave_vectors.detach().norm(dim=1)
    lost = (size * _missing(basis, acquisition, fewer)).to(strength.device)
    n_judged = min(_JUDGED, acquisition.n_measurements)
    rows = torch.cat([values.topk(n_judged).indices for values in (strength, lost)]).unique()
    judged = acquisition.subset(rows)
    coarse = ReducedModel(
        model.rates[:fewer, :fewer], model.moments[:, :fewer, :fewer], model.magnetisation[:fewer]
    )
    whole = float(basis.modes.mass.sum())
    left = most_left = max(0.0, whole - float(model.magnetisation.square().sum()))
    if parts is None:
        other = _integrals(coarse, judged, rests=rests)[:, None]
    else:
        indicators = parts.cpu().numpy().T
        loads = basis.modes.mass @ indicators
        observers = torch.from_numpy(loads.T).to(basis.vectors) @ basis.vectors
        other = _parts_integrals(coarse, judged, observers[:, :fewer])
        volumes = torch.from_numpy((indicators * loads).sum(0)).to(observers)
        most_left = max(0.0, float((volumes - observers.square().sum(1)).max()))
    change = (kept[rows.to(kept.device)] - other).abs().max()
    attenuated = (size * _missing(basis, acquisition, basis.modes.n_modes)).max()
    shortest = float(acquisition.durations.min())
    # what is left out of the start reaches what is left out of a part
    missed = math.sqrt(left * most_left) / whole
    return float(torch.maximum(change, attenuated)) / whole + missed * math.exp(
        -basis.modes.next_value * shortest
    )


def _missing(basis: ModalBasis, acquisition: Acquisition, n_modes: int) -> Tensor:
    """Return 2q²R²(λδ − 1 + e^(−λδ))/λ² (N,), with λ the first rate above `n_modes` and 2δ = ∫|f|²dt.

    R² is the variance of the position along q, over the shape, that those modes do not carry. Were all of
    it on the one rate, this would be the attenuation that two pulses cause, but for the correlation between
    them, which lessens it; a gradient that varies while spins decorrelate causes less too. Of gradients that
    turn, q is the amplitude and R² the largest of all directions.
    """
    q = acquisition.wave_vectors.detach().to(basis.moments)
    delta = acquisition.energies.detach().to(q) / 2
    variance = _missing_variance(basis, n_modes)
    turns = torch.tensor([isinstance(w, FreeWaveform) for w in acquisition.waveforms], device=q.device)
    largest = torch.linalg.eigvalsh(variance)[-1] * q.square().sum(1)
    missing = torch.where(turns[acquisition.waveform_of], largest, (q @ variance * q).sum(1))
    rate = float(basis.modes.values[n_modes])
    decay = rate * delta
    return -torch.expm1(-2 * missing * (decay + torch.expm1(-decay)) / rate**2)


def _missing_variance(basis: ModalBasis, n_modes: int) -> Tensor:
    """Return the covariance (3, 3), µm², of the positions in the shape that the lowest modes do not carry."""
    # positions are functions of the space
    positions, mass = basis.positions.cpu().numpy(), basis.modes.mass
    loads = mass @ positions
    carried = basis.modes.vectors[:, :n_modes].T @ loads
    return torch.from_numpy((positions.T @ loads - carried.T @ carried) / mass.sum()).to(basis.moments)


def _integrals(model: ReducedModel, acquisition: Acquisition, *, rests: bool) -> Tensor:
    """Return ∫M (N,), complex; `rests` where it does not change without a gradient."""
    groups: dict[Callable[[ReducedModel, Acquisition], Tensor], list[Tensor]] = {}
    for waveform, rows in acquisition.by_waveform:
        groups.setdefault(_solver(waveform, rests=rests), []).append(rows)
    signal = model.rates.new_zeros(acquisition.n_measurements, dtype=torch.complex128)
    for solver, parts in groups.items():
        rows = torch.cat(parts)
        part = solver(model, acquisition.subset(rows)).to(signal)
        signal = signal.index_put((rows.to(signal.device),), part)
    return signal


def _parts_integrals(model: ReducedModel, acquisition: Acquisition, observers: Tensor) -> Tensor:
    """Return ∫M (N, K), complex, over the parts that `observers` (K, n) see.

    The identity of PGSE gives the whole only, so that its second pulse is run too.
    """
    # each leaves the measurements of the other zero
    return one_axis_signal(model, acquisition, observers) + three_axes_signal(model, acquisition, observers)


def _solver(waveform: AbstractWaveform, *, rests: bool) -> Callable[[ReducedModel, Acquisition], Tensor]:
    if isinstance(waveform, FreeWaveform):
        return three_axes_signal
    if type(waveform) is not Pgse:
        return one_axis_signal
    return _pgse if rests else _pgse_between_pauses


def _pgse(model: ReducedModel, acquisition: Acquisition) -> Tensor:
    q = acquisition.wave_vectors.to(model.rates)
    return pgse_signal(model, q, acquisition.small_delta.to(q), acquisition.big_delta.to(q))


def _pgse_between_pauses(model: ReducedModel, acquisition: Acquisition) -> Tensor:
    """Return ∫M (N,) where the magnetisation changes without a gradient too.

    The pulses are centred in the echo time, so that half of TE − δ − Δ passes before the first one and half
    after the last: with ν e^{−tΛ} for ν the identity of PGSE holds as before.
    """
    lead = ((acquisition.echo_time - acquisition.small_delta - acquisition.big_delta) / 2).clamp(min=0)
    times, which = torch.unique(lead.detach(), return_inverse=True)
    signal = model.rates.new_zeros(acquisition.n_measurements)
    for k, time in enumerate(times):
        rows = (which == k).nonzero().ravel()
        rested = torch.linalg.matrix_exp(-time.to(model.rates) * model.rates) @ model.magnetisation
        part = _pgse(model._replace(magnetisation=rested), acquisition.subset(rows))
        signal = signal.index_put((rows.to(signal.device),), part)
    return signal


def _warn_truncation(basis: ModalBasis, error: float) -> None:
    warnings.warn(
        f"{basis.modes.n_modes} modes may be too few for this gradient: "
        f"estimated error up to {error:.1e} of S(0)",
        AccuracyWarning,
        stacklevel=5,
    )

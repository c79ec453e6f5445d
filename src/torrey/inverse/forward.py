"""`ForwardModel`: from a latent to predicted signals and their exact Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..autodiff import jacobian
from ..fem.eigenmodes import Spectrum
from ..fem.geometry import Coefficients
from ..fem.out_of_span import OutOfSpan
from ..fem.reduced import ModalBasis, reduced_model, reduced_tangents
from ..mesh import TetMesh
from ..mesh.volumes import least_volumes, tet_volumes
from ..shape import AbstractShape
from ..signal.operators import Domain, Operators
from ..signal.pgse import PgseSolution, pgse_signal
from ..signal.tissue import Tissue


@dataclass(frozen=True, eq=False)
class Linearisation:
    """A prediction and its derivatives at one latent.

    Attributes
    ----------
    predicted : (N,) Tensor
        Signals, over S(0) where the model is normalised, else in µm³.
    jacobian : (N, P) Tensor
        Its derivative in the latent, with what the model says of the modes.
    displacements : (P, V, 3) Tensor
        The derivatives of the vertices, µm.
    """

    predicted: Tensor
    jacobian: Tensor
    displacements: Tensor

    @property
    def metric(self) -> Tensor:
        """G (P, P) with dᵀGd the mean square displacement of the vertices, µm², for a change d of the latent.

        Of the inner vertices too: what moves them alone would not be damped at all.
        """
        flat = self.displacements.flatten(1)
        return flat @ flat.T / (flat.shape[1] / 3)


@dataclass(frozen=True, eq=False)
class ForwardModel:
    """Matrix formalism on the mesh of a shape model, with a fixed number of modes.

    Parameters
    ----------
    shape : AbstractShape
        Latent → mesh.
    tissue, acquisition : Tissue, Acquisition
        What is measured, and how.
    normalised : bool
        Whether signals are divided by S(0), which takes relaxation and spin density out too.
    n_modes : int
        Modes kept.
    order : {1, 2}
        Order of the finite elements.
    out_of_span : {"none", "slow", "all"}
        Modes whose change out of the span of the kept ones the Jacobian has. Without it a Jacobian is wrong
        by the error of the cut: in directions that signals hardly see, by more than all they say.
    finest : AbstractShape, optional
        A finer mesh of the same latent that must not fold either.
    """

    shape: AbstractShape
    tissue: Tissue
    acquisition: Acquisition
    normalised: bool
    n_modes: int
    order: int = 2
    out_of_span: OutOfSpan = "none"
    finest: AbstractShape | None = None

    @cached_property
    def _water(self) -> Tissue:
        """The tissue with unit density and no relaxation, which are factors of the signal."""
        return Tissue(diffusivity=self.tissue.diffusivity.detach())

    @cached_property
    def _domain(self) -> Domain:
        return Domain.of_one_compartment(self.shape.tets, order=self.order)

    @cached_property
    def _coefficients(self) -> Coefficients:
        return self._domain.coefficients(self._water)

    @cached_property
    def _distinct(self) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """q, δ and Δ of the measurements that differ, and which of them each measurement (N,) is."""
        a = self.acquisition
        rows = torch.cat([a.wave_vectors.detach(), a.small_delta[:, None], a.big_delta[:, None]], dim=1)
        rows, which = torch.unique(rows, dim=0, return_inverse=True)
        return (rows[:, :3], rows[:, 3], rows[:, 4]), which

    @cached_property
    def _scale(self) -> Tensor:
        """ρ e^{−TE/T2} of each measurement (N,)."""
        return (self.tissue.spin_density * torch.exp(-self.acquisition.echo_time / self.tissue.T2)).detach()

    def count_resolved(self, latent: Tensor, *limits: tuple[float, int]) -> list[int]:
        """Return how many modes of `latent` (P,) each of `limits` lets in: length scale, µm, and count."""
        operators = self._operators(self.shape.mesh(latent.detach()))
        most = max(count for _, count in limits)
        modes = operators.modes(count=min(most, operators.space.n_nodes))
        return [
            min(count, int((modes.values <= operators.rate_of(length_scale)).sum()))
            for length_scale, count in limits
        ]

    def admissible(self, latent: Tensor) -> bool:
        """Whether the shape does not fold and no tet of its meshes is inverted or flat."""
        if not bool(torch.isfinite(latent).all()):
            return False
        return _unfolded(self.shape, latent) and (self.finest is None or _unfolded(self.finest, latent))

    def at(self, latent: Tensor) -> Prediction:
        """Solve for the modes of `latent` (P,) and return its prediction, ready to be linearised."""
        latent = latent.detach()
        mesh = self.shape.mesh(latent)
        operators = self._operators(mesh)
        spectrum = operators.spectrum()
        basis = operators.reduce(spectrum.lowest(count=self.n_modes))
        timing, which = self._distinct
        return Prediction(self, latent, mesh, spectrum, basis, PgseSolution.of(basis.model, *timing), which)

    def predict(self, latent: Tensor) -> Tensor:
        """Return the signals (N,) of `latent` (P,)."""
        return self.at(latent).predicted

    def misfit_gradient(self, latent: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean square of predicted − `measured` (N,) and its gradient (P,) by one reverse pass."""
        x = latent.detach().requires_grad_()
        mesh = self.shape.mesh(x)
        operators = self._operators(mesh)
        model = reduced_model(operators.geometry, operators.basis(count=self.n_modes), out_of_span="none")
        timing, which = self._distinct
        signal = pgse_signal(model, *timing)[which]
        predicted = signal / mesh.volume if self.normalised else signal * self._scale
        loss = (predicted - measured).square().mean()
        (gradient,) = torch.autograd.grad(loss, x)
        return loss.detach(), gradient

    def _operators(self, mesh: TetMesh) -> Operators:
        return Operators.of(mesh, self._water, order=self.order, domain=self._domain)


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a `ForwardModel` at one latent."""

    model: ForwardModel
    latent: Tensor
    mesh: TetMesh
    spectrum: Spectrum
    basis: ModalBasis
    solution: PgseSolution
    which: Tensor

    @property
    def predicted(self) -> Tensor:
        """Signals (N,), over S(0) where the model is normalised, else in µm³."""
        signal = self.solution.signal[self.which]
        return signal / self.mesh.volume if self.model.normalised else signal * self.model._scale

    def linearise(self) -> Linearisation:
        """Return the Jacobian: adjoint for each measurement, forward for each parameter."""
        model, mesh = self.model, self.mesh
        displacements = jacobian(model.shape.vertices, self.latent)
        basis = self.basis
        if model.out_of_span != "none":
            basis = basis._replace(modes=self.spectrum.completed(basis.modes))
        tangents = reduced_tangents(
            mesh.vertices, model._coefficients, basis, displacements, out_of_span=model.out_of_span
        )
        slope = self.solution.jacobian(tangents)[self.which]
        if model.normalised:
            volume_slope = _volume_slope(mesh, displacements)
            slope = (slope - self.predicted[:, None] * volume_slope) / mesh.volume
        else:
            slope = slope * model._scale[:, None]
        return Linearisation(self.predicted, slope, displacements)


def _unfolded(shape: AbstractShape, latent: Tensor) -> bool:
    if shape.fold_margin(latent) <= 0:
        return False
    vertices = shape.vertices(latent)
    return bool((tet_volumes(vertices, shape.tets) > least_volumes(vertices, shape.tets)).all())


def _volume_slope(mesh: TetMesh, displacements: Tensor) -> Tensor:
    """Return dV (P,), µm³, along `displacements` (P, V, 3)."""
    x = mesh.vertices.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(tet_volumes(x, mesh.tets).sum(), x)
    return torch.einsum("pvi,vi->p", displacements, gradient)

"""`ForwardModel`: from a latent to predicted signals and their exact Jacobian."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..acquisition import Acquisition
from ..fem.reduced import reduced_tangents
from ..fem.space import FunctionSpace
from ..mesh import TetMesh
from ..mesh.tetmesh import tet_volumes
from ..shape import AbstractShape
from ..signal.matrix_formalism import Operators
from ..signal.pgse import pgse_jacobian, pgse_signal
from ..signal.tissue import Tissue


@dataclass(frozen=True, eq=False)
class Linearisation:
    """A prediction and its derivatives at one latent.

    Attributes
    ----------
    predicted : (N,) Tensor
        Signals, over S(0) where the model is normalised, else in µm³.
    jacobian : (N, P) Tensor
        Its derivative in the latent, with the modes held fixed.
    metric : (P, P) Tensor
        G with dᵀGd the mean square displacement of the surface, µm², for a change d of the latent.
    """

    predicted: Tensor
    jacobian: Tensor
    metric: Tensor


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
    """

    shape: AbstractShape
    tissue: Tissue
    acquisition: Acquisition
    normalised: bool
    n_modes: int
    order: int = 2

    @cached_property
    def _space(self) -> FunctionSpace:
        return FunctionSpace.on(self.shape.tets, int(self.shape.tets.max()) + 1, order=self.order)

    @cached_property
    def _timing(self) -> tuple[Tensor, Tensor, Tensor]:
        a = self.acquisition
        return a.wave_vectors.detach(), a.small_delta, a.big_delta

    @cached_property
    def _scale(self) -> Tensor:
        """ρ e^{−TE/T2} of each measurement (N,)."""
        return (self.tissue.spin_density * torch.exp(-self.acquisition.echo_time / self.tissue.T2)).detach()

    def measuring(self, rows: Tensor) -> ForwardModel:
        """Return the model of some `rows` (mask or indices) of the acquisition."""
        return replace(self, acquisition=self.acquisition.subset(rows))

    def admissible(self, latent: Tensor) -> bool:
        """Whether the shape does not fold and no tet of its mesh is inverted."""
        if not bool(torch.isfinite(latent).all()) or self.shape.fold_margin(latent) <= 0:
            return False
        return bool((tet_volumes(self.shape.vertices(latent), self.shape.tets) > 0).all())

    def predict(self, latent: Tensor) -> Tensor:
        """Return the signals (N,) of `latent` (P,)."""
        mesh = self.shape.mesh(latent.detach())
        basis = self._operators(mesh).basis(count=self.n_modes)
        signal = pgse_signal(basis.model, *self._timing)
        return signal / mesh.volume if self.normalised else signal * self._scale

    def linearise(self, latent: Tensor) -> Linearisation:
        """Return the signals of `latent` (P,) with their Jacobian: adjoint per measurement, forward per parameter."""
        latent = latent.detach()
        mesh = self.shape.mesh(latent)
        displacements = torch.func.jacfwd(self.shape.vertices)(latent).permute(2, 0, 1).contiguous()
        basis = self._operators(mesh).basis(count=self.n_modes)
        D = self.tissue.diffusion_tensor.detach()
        tangents = reduced_tangents(mesh.vertices, D, basis, displacements)
        signal, jacobian = pgse_jacobian(basis.model, tangents, *self._timing)
        if self.normalised:
            volume = mesh.volume
            slope = _volume_slope(mesh, displacements)
            jacobian = (jacobian - (signal / volume)[:, None] * slope) / volume
            signal = signal / volume
        else:
            signal, jacobian = signal * self._scale, jacobian * self._scale[:, None]
        return Linearisation(signal, jacobian, _displacement_metric(mesh, displacements))

    def _operators(self, mesh: TetMesh) -> Operators:
        return Operators.of(mesh, self.tissue, order=self.order, space=self._space)


def _volume_slope(mesh: TetMesh, displacements: Tensor) -> Tensor:
    """Return dV (P,), µm³, along `displacements` (P, V, 3)."""
    x = mesh.vertices.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(tet_volumes(x, mesh.tets).sum(), x)
    return torch.einsum("pvi,vi->p", displacements, gradient)


def _displacement_metric(mesh: TetMesh, displacements: Tensor) -> Tensor:
    on_surface = displacements[:, torch.unique(mesh.boundary)].flatten(1)
    return on_surface @ on_surface.T / (on_surface.shape[1] / 3)

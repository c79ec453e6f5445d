"""What a reconstruction returns, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..acquisition import Acquisition
from ..mesh import TetMesh
from ..shape import AbstractShape
from ..signal.tissue import Tissue


@dataclass(frozen=True)
class Iteration:
    """One accepted iterate of one start: `misfit` is the rms of predicted − measured over S(0).

    `latent` is that of `shape`, the model of its stage.
    """

    start: int
    stage: str
    iteration: int
    misfit: float
    seconds: float
    shape: AbstractShape | None = field(default=None, compare=False, repr=False)
    latent: Tensor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Posterior:
    """How well the data determine each direction of the latent, in the Laplace approximation.

    The rows of `directions` are orthonormal in the mean-square displacement of the surface, so each is a
    change of shape, and `standard_deviations` are root-mean-square displacements in µm.

    Attributes
    ----------
    sigma : float
        Standard deviation of one measurement over S(0), noise and model error together.
    noise_sigma, model_sigma : float
        Its two parts: the noise, and the difference between the mesh used and a finer one.
    eigenvalues : (K,) Tensor
        Eigenvalues of JᵀJ/σ² in that metric, 1/µm², best determined first; K ≤ P, as
        changes without a shape are left out.
    standard_deviations : (K,) Tensor
        1/sqrt(eigenvalues), µm.
    directions : (K, P) Tensor
        Row k: the change of latent that belongs to eigenvalue k, scaled to 1 µm rms displacement.
    displacements : (K, V, 3) Tensor
        The same change as displacement of the mesh vertices, µm per µm rms.
    """

    sigma: float
    noise_sigma: float
    model_sigma: float
    eigenvalues: Tensor
    standard_deviations: Tensor
    directions: Tensor
    displacements: Tensor


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The shape that explains a signal.

    Attributes
    ----------
    mesh : TetMesh
        The reconstructed shape, µm; no tet is inverted.
    latent : (P,) Tensor
        Its parameters in the shape model.
    measured, predicted : (N,) Tensor
        Signals, both over S(0) where `normalised`, else in µm³.
    acquisition, tissue : Acquisition, Tissue
        What the signals were measured with and assumed of.
    normalised : bool
        Whether signals are attenuations S/S(0).
    misfit : float
        Root mean square of predicted − measured, over S(0).
    start_misfits : tuple of float
        Final misfit of every start; the lowest is the one returned.
    history : tuple of Iteration
        Accepted iterates of every start, in order.
    posterior : Posterior
        What the data determine.
    settings : dict
        Everything needed to run it again: shape, solver, optimiser, seed, versions. JSON-serialisable.
    stop_reason : str
        Why the best start stopped, in words.
    seconds : float
        Wall time.
    """

    mesh: TetMesh
    latent: Tensor
    measured: Tensor
    predicted: Tensor
    acquisition: Acquisition
    tissue: Tissue
    normalised: bool
    misfit: float
    start_misfits: tuple[float, ...]
    history: tuple[Iteration, ...]
    posterior: Posterior
    settings: dict[str, Any]
    stop_reason: str
    seconds: float

"""`descend_in_vertices`: the fit that knows nothing of shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...acquisition import Acquisition
from ...inverse import Adam, Iteration, Reconstruction, reconstruct
from ...mesh import TetMesh, prism
from ...shape import Extent, Vertices
from ...signal import MatrixFormalism, Tissue


def descend_in_vertices(
    signal: Tensor,
    acquisition: Acquisition,
    tissue: Tissue,
    *,
    template: TetMesh | None = None,
    smoothing: float = 16.0,
    optimiser: Adam | None = None,
    solver: MatrixFormalism | None = None,
    sigma: float | None = None,
    normalised: bool = False,
    progress: Callable[[Iteration], None] | None = None,
) -> Reconstruction:
    """Move every vertex of a template by Adam until its signal fits, as ReMiDi moves its latent.

    It starts where ReMiDi (arXiv 2502.01988) does, at the template itself, from which the pose is known.

    Parameters
    ----------
    signal, acquisition, tissue, solver, sigma, normalised, progress
        As for `torrey.reconstruct`.
    template : TetMesh, optional
        `prism()` by default, the paper's straight axon along z.
    smoothing : float
        Of `torrey.shape.Vertices`.
    optimiser : Adam, optional
        `Adam()` by default: 750 iterations at most, as in the paper.

    Raises
    ------
    InputError
        As `torrey.reconstruct`.
    """
    return reconstruct(
        signal,
        acquisition,
        tissue,
        shape=_FromTemplate(template=prism() if template is None else template, smoothing=smoothing),
        optimiser=Adam() if optimiser is None else optimiser,
        solver=solver,
        n_starts=1,
        sigma=sigma,
        normalised=normalised,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _FromTemplate(Vertices):
    """`Vertices` that start at the template, whatever extent the signal suggests."""

    def initial(self, extent: Extent, *, generator: torch.Generator | None) -> Tensor:
        """Return the template's latent, zero (3V,)."""
        return torch.zeros(self.n_latent, dtype=torch.float64)

r"""How well the data determine each direction of a latent: the Laplace approximation around the fitted shape.

A change d of the latent moves the surface along its normal by n·δx, up to a translation, which no signal
sees. With dᵀGd the mean square of that displacement, the directions are the eigenvectors of JᵀJ/σ² relative
to G: each is a change of shape of 1 µm rms, and 1/√eigenvalue is the standard deviation of its amplitude in
µm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..mesh import TetMesh
from .result import Posterior

_SHAPELESS = 1e-4
"""Squared displacement over the largest below which a change of latent does not change the shape (a point
that slides along its own curve) and is left out."""


def laplace_posterior(
    jacobian: Tensor, mesh: TetMesh, displacements: Tensor, *, noise_sigma: float, model_sigma: float
) -> Posterior:
    """Return the posterior around a fit.

    Parameters
    ----------
    jacobian : (N, P) Tensor
        Of signals over S(0).
    mesh : TetMesh
        The fitted shape.
    displacements : (P, V, 3) Tensor
        Its vertices' derivatives in the latent.
    noise_sigma, model_sigma : float
        Standard deviations over S(0) of the noise and of the model's own error.
    """
    sigma = (noise_sigma**2 + model_sigma**2) ** 0.5
    metric = _normal_metric(mesh, displacements)
    size, axes = torch.linalg.eigh(metric)
    kept = size > _SHAPELESS * size[-1]
    basis = axes[:, kept] / size[kept].sqrt()
    reduced = jacobian @ basis
    values, vectors = torch.linalg.eigh(reduced.T @ reduced / sigma**2)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    directions = (basis @ vectors).T
    return Posterior(
        sigma=sigma,
        noise_sigma=noise_sigma,
        model_sigma=model_sigma,
        eigenvalues=values,
        standard_deviations=values.rsqrt(),
        directions=directions,
        displacements=torch.einsum("kp,pvi->kvi", directions, displacements),
    )


def _normal_metric(mesh: TetMesh, displacements: Tensor) -> Tensor:
    """Mean square normal displacement (P, P), µm², of the surface after the best translation is taken out."""
    triangles = mesh.boundary
    a, b, c = mesh.vertices.detach()[triangles].unbind(1)
    area_vector = torch.linalg.cross(b - a, c - a) / 2
    area = area_vector.norm(dim=1)
    normal = area_vector / area[:, None]
    weight = area / area.sum()
    moved = torch.einsum("pfi,fi->pf", displacements[:, triangles].mean(2), normal)
    weighted = normal * weight[:, None]
    translation = torch.linalg.solve(normal.T @ weighted, weighted.T @ moved.T)
    moved = moved - (normal @ translation).T
    metric: Tensor = (moved * weight) @ moved.T
    return metric

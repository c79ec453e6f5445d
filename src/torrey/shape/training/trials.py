"""What a trained model is worth: errors of its round trip, and whether random latents fold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...mesh import tet_volumes
from ..base import AbstractShape
from ..learned import LearnedShape

N_RANDOM = 10_000

_CHUNK = 500


def round_trip_errors(model: LearnedShape, shapes: Tensor) -> Tensor:
    """Return the mean distance of vertices (N,), µm, between `shapes` (N, V, 3) and what comes back."""

    def error(vertices: Tensor) -> Tensor:
        mean: Tensor = (model.vertices(model.latent_of(vertices)) - vertices).norm(dim=1).mean()
        return mean

    with torch.no_grad():
        return torch.cat([torch.func.vmap(error)(chunk.double()) for chunk in shapes.split(_CHUNK)])


def codes_of(model: LearnedShape, shapes: Tensor) -> Tensor:
    """Return the latents (N, P) of `shapes` (N, V, 3), µm."""
    with torch.no_grad():
        return torch.cat([torch.func.vmap(model.latent_of)(part.double()) for part in shapes.split(_CHUNK)])


def count_folded(model: AbstractShape, latents: Tensor) -> int:
    """Return how many of `latents` (N, P) have a shape with an inverted tet."""

    def smallest(latent: Tensor) -> Tensor:
        return tet_volumes(model.vertices(latent), model.tets).amin()

    with torch.no_grad():
        volumes = torch.cat([torch.func.vmap(smallest)(part) for part in latents.split(_CHUNK)])
    return int((volumes <= 0).sum())


def folds(model: LearnedShape, codes: Tensor, *, generator: torch.Generator) -> dict[str, int]:
    """Return how many "of" 10 000 latents have an inverted tet, for three ways to draw them.

    Uniform in the box around the training codes (N, P), from the Gaussian with their mean and covariance, and
    between codes (`LearnedShape.between_codes`).
    """
    size = N_RANDOM, model.n_latent
    low, high = codes.amin(0), codes.amax(0)
    in_box = low + (high - low) * torch.rand(size, generator=generator, dtype=torch.float64)
    factor = cholesky_of_covariance(codes)
    gaussian = codes.mean(0) + torch.randn(size, generator=generator, dtype=torch.float64) @ factor.T
    return {
        "of": N_RANDOM,
        "box": count_folded(model, in_box),
        "gaussian": count_folded(model, gaussian),
        "between_codes": count_folded(model, model.between_codes(N_RANDOM, generator=generator)),
    }


def cholesky_of_covariance(codes: Tensor) -> Tensor:
    """Return the lower factor (P, P) of the covariance of `codes` (N, P).

    A millionth of the mean variance is added, for codes of a family often lie in fewer than P dimensions.
    """
    covariance = codes.T.cov().view(2 * codes.shape[1:])
    floor = 1e-6 * float(covariance.diagonal().mean())
    factor: Tensor = torch.linalg.cholesky(covariance + floor * torch.eye(len(codes.T), dtype=codes.dtype))
    return factor


def summarise(errors: Tensor) -> dict[str, Any]:
    """Return mean, median, 95th percentile and largest of `errors` (N,), and N."""
    middle, high = errors.quantile(errors.new_tensor([0.5, 0.95])).tolist()
    return {
        "mean": float(errors.mean()),
        "median": middle,
        "percentile_95": high,
        "largest": float(errors.max()),
        "n_shapes": len(errors),
    }

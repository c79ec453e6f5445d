"""How a `Sweep` is learned: principal components of channels, in the metric of displaced vertices."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...autodiff import jacobian
from ...errors import ConvergenceError
from ...mesh import polygon, prism
from ..families import AbstractFamily, Mixed
from ..training.trials import N_RANDOM, count_folded, summarise
from .channels import N_COEFFICIENTS, from_coefficients, from_sections, observed
from .sweep import Sweep
from .window import LAYERS, TEMPLATE_LAYERS, fit_of_channels, normalised, window

N_SHAPES = 1200
"""Shapes to train with, by default."""

_SHORTEST, _LONGEST = 0.25, 1.25
"""Of the parts that are trained on: 7 beads give 1.75 to 8.75."""

_PARTS = 2
"""Random parts of each shape that are trained on."""

_MOST_LATENTS = 64

_METRIC_SHAPES = 24
"""Shapes over which the metric is averaged."""


def train_sweep(
    family: AbstractFamily,
    *,
    seed: int,
    n_shapes: int = N_SHAPES,
    n_held_out: int = 24,
    n_codes: int = 256,
    tolerance: float = 0.002,
) -> Sweep:
    """Return a model of `family`, with as few latents as `tolerance` allows.

    Parameters
    ----------
    family : AbstractFamily
        Shapes to train and to validate with are drawn from its splits.
    seed : int
        Of those draws; the same seed gives the same model.
    n_shapes, n_held_out : int
        To train with and to choose the number of latents with; random parts of each as well.
    n_codes : int
        How many of the shapes are kept as starts.
    tolerance : float
        Mean distance, µm, of vertices from those of their round trip, over held-out shapes and parts.

    Raises
    ------
    ConvergenceError
        When 64 latents do not reach the tolerance.

    Notes
    -----
    With q the coefficients of a shape, M = E[JᵀJ]/V the metric of the vertices' displacement, J = ∂x/∂q, and
    M = UUᵀ, the eigenvectors w of the covariance of Uᵀ(q − q̄) are the directions along which vertices differ
    most, and q̄ + E[q z] z with z = wᵀUᵀ(q − q̄)/√λ the linear map that predicts coefficients best from them.
    """
    generator = torch.Generator().manual_seed(seed)
    whole, parts = _shapes_and_parts(family, family.split("train"), n_shapes, generator)
    held_out = torch.cat(_shapes_and_parts(family, family.split("validation"), n_held_out, generator))
    mean, basis = _principal_components(parts, generator)
    targets = [_on_template(each) for each in held_out]

    def model(n_latent: int) -> Sweep:
        return Sweep(mean=mean, basis=basis[:, :n_latent], codes=basis.new_zeros(0, n_latent))

    curve: list[dict[str, float]] = []

    def error(n_latent: int) -> float:
        curve.append(
            {
                "latents": n_latent,
                "validation_error": float(round_trip_errors(model(n_latent), targets).mean()),
            }
        )
        return curve[-1]["validation_error"]

    too_few, enough = 0, min(_MOST_LATENTS, basis.shape[1])
    if (left := error(enough)) > tolerance:
        raise ConvergenceError(
            f"sweep: {enough} latents leave {left:.3g} µm of the shapes of {family.name}, "
            f"expected at most {tolerance:g}"
        )
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if error(middle) <= tolerance else (middle, enough)
    chosen = model(enough)
    codes = torch.stack([chosen.latent_of(_on_template(each)) for each in whole[:n_codes]])
    about = {
        "family": family.name,
        "n_latent": enough,
        "training": {"seed": seed, "n_shapes": n_shapes, "n_held_out": n_held_out, "tolerance": tolerance},
        "curve": sorted(curve, key=lambda row: row["latents"]),
    }
    return replace(chosen, codes=codes, about=about)


def with_facts(model: Sweep, family: AbstractFamily, *, n_shapes: int = 24) -> Sweep:
    """Return `model` with errors of `n_shapes` test shapes of each family, and folds of random latents."""
    members = family.members if isinstance(family, Mixed) else (family,)
    errors = {}
    for each in members:
        indices = each.split("test")
        chosen = indices[:: len(indices) // n_shapes][:n_shapes]
        shapes = [each.sample(i).canonical for i in chosen]
        errors[f"test, {each.name}"] = summarise(round_trip_errors(model, shapes))
    latents = torch.randn(
        N_RANDOM, model.n_latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    facts = {"round_trip": errors, "folded": {"of": N_RANDOM, "gaussian": count_folded(model, latents)}}
    return replace(model, about={**model.about, **facts})


def round_trip_errors(model: Sweep, shapes: list[Tensor]) -> Tensor:
    """Return the mean distance (n,), µm, of vertices of `shapes`, (V, 3) each, from their round trips."""
    return torch.stack([(model.vertices(model.latent_of(x)) - x).norm(dim=1).mean() for x in shapes])


def _on_template(coefficients: Tensor) -> Tensor:
    sections = from_coefficients(coefficients, TEMPLATE_LAYERS).sections(polygon(12)[0])
    return sections.reshape(-1, 3)


def _shapes_and_parts(
    family: AbstractFamily, indices: range, count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the coefficients of random shapes (count, 195) and of random parts of them (2·count, 195)."""
    template, figure = prism(n_layers=LAYERS), polygon(12)[0]
    chosen = torch.randperm(len(indices), generator=generator)[:count].tolist()
    whole, parts = [], []
    for each in chosen:
        sections = family.sample(indices[each], template=template).canonical.view(LAYERS + 1, -1, 3)
        shape = fit_of_channels() @ observed(from_sections(sections, figure))
        whole.append(normalised(shape))
        for _ in range(_PARTS):
            share, place = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
            length = _SHORTEST + (_LONGEST - _SHORTEST) * share
            # a longer one than the whole reaches beyond both ends
            parts.append(window(shape, place * (1 - length), length))
    return torch.stack(whole), torch.stack(parts)


def _principal_components(shapes: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the mean (195,) and what one standard deviation of each component adds (195, 195)."""
    mean = shapes.mean(0)
    drawn = torch.randperm(len(shapes), generator=generator)[:_METRIC_SHAPES]
    values, vectors = torch.linalg.eigh(_metric(shapes[drawn]))
    displacement = vectors * values.clamp_min(0).sqrt()
    apart = shapes - mean
    moved = apart @ displacement
    variances, directions = torch.linalg.eigh(moved.T @ moved / len(moved))
    kept = variances.flip(0) > 1e-12 * variances.max()
    scores = (moved @ directions.flip(1)[:, kept]) / variances.flip(0)[kept].sqrt()
    basis = apart.T @ scores / len(scores)
    # eigenvectors have no sign of their own
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    return mean, basis * largest.sign()


def _metric(shapes: Tensor) -> Tensor:
    """Return the mean over `shapes` of JᵀJ/V (195, 195), µm², J the derivative of vertices."""
    figure, n_layers = polygon(12)[0], 2 * TEMPLATE_LAYERS

    def vertices(coefficients: Tensor) -> Tensor:
        return from_coefficients(coefficients, n_layers).sections(figure).reshape(-1, 3)

    total = shapes.new_zeros(N_COEFFICIENTS, N_COEFFICIENTS)
    for each in shapes:
        slope = jacobian(vertices, each).flatten(1)
        total += slope @ slope.T / (slope.shape[1] / 3)
    return total / len(shapes)

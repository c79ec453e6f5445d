"""The model card: what weights were trained on, how good they are and where they fail, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from ..learned import LearnedShape
from .curve import Curve
from .data import TrainingData
from .trials import codes_of, folds, round_trip_errors, summarise

Model = TypeVar("Model", bound=LearnedShape)

_DRAWS = {
    "box": "uniform in the box around the training codes",
    "gaussian": "Gaussian with their mean and covariance",
    "between_codes": "between codes (weighted means of three)",
}

_PUBLISHED = {"bend": "0.040", "bead": "0.39–0.43"}
"""Mean vertex error, µm, of the round trip of the ReMiDi paper's autoencoders on test shapes."""

_LIMITS = {
    "pca": "A linear model: it holds sums of what it saw. Outside of the range between training codes the "
    "cross-section of a sum can turn inside out, which inverts tets; draw latents with `between_codes`, or "
    "leave it to the fold barrier of a fit.",
    "sweep": "Shapes are stacks of sections parallel to one plane, images of one figure, and no latent folds "
    "them. An axon that turns back, or whose outline changes along it, is outside of what it holds.",
    "autoencoder": "A network: it holds what lies near its training shapes, and nothing keeps the tets of "
    "what it decodes upright. The finest graph modes do not pass; the curve's validation error, which is "
    "of the coefficients, does not see what they hold.",
}

_BEADS = "Only odd counts of beads were trained on. Even ones, the test shapes, are outside of what it holds."


def with_facts(model: Model, data: TrainingData, *, training: Mapping[str, Any], curve: Curve) -> Model:
    """Return `model` with the facts of its card: data, `training` settings, errors, folds and `curve`."""
    codes = codes_of(model, data.train)
    trained_on = data.train[:: max(1, len(data.train) // 1000)]
    about = {
        "family": data.family,
        "training": {"n_shapes": len(data.train), **training},
        "n_latent": model.n_latent,
        "round_trip": {
            "trained on": summarise(round_trip_errors(model, trained_on)),
            "validation": summarise(round_trip_errors(model, data.validation)),
        }
        | {
            f"test, {name}": summarise(round_trip_errors(model, shapes)) for name, shapes in data.test.items()
        },
        "folded": folds(model, codes, generator=torch.Generator().manual_seed(0)),
        "curve": [dict(row) for row in curve],
    }
    return replace(model, about=about)


def model_card(kind: str, about: Mapping[str, Any]) -> str:
    """Return the card of a model of `kind` with the facts `about`, as Markdown."""
    family, training = about["family"], about["training"]
    settings = ", ".join(f"{name} {value}" for name, value in training.items() if name != "n_shapes")
    lines = [
        f"# {kind} of {family}",
        "",
        f"Latent of {about['n_latent']} numbers, for the prism of 315 vertices along z, centred.",
        "",
        f"Trained on {training['n_shapes']} shapes of the family *{family}*: {settings}.",
        "",
        "Round trip, mean distance of vertices in µm:",
        "",
        "| shapes | number | mean | median | 95th percentile | largest |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['n_shapes']} | {row['mean']:.2g} | {row['median']:.2g} "
            f"| {row['percentile_95']:.2g} | {row['largest']:.2g} |"
            for name, row in about["round_trip"].items()
        ),
        "",
    ]
    if family in _PUBLISHED:
        lines += [f"The published autoencoder has {_PUBLISHED[family]} µm on its test shapes.", ""]
    lines += [
        f"Shapes with an inverted tet, of {about['folded']['of']} random latents:",
        "",
        "| latents | folded |",
        "|---|---|",
        *(
            f"| {text} | {about['folded'][name]} |"
            for name, text in _DRAWS.items()
            if name in about["folded"]
        ),
        "",
        f"Limits. {_LIMITS[kind]} {_BEADS if family == 'bead' and kind != 'sweep' else ''}".rstrip(),
        "",
        *_curve_table(about["curve"]),
    ]
    return "\n".join(lines) + "\n"


def _curve_table(curve: Curve, *, most: int = 12) -> list[str]:
    """Return the curve as a table of about `most` rows and the last."""
    rows = [*curve[: -1 : -(-len(curve) // most)], curve[-1]]
    return [
        "| " + " | ".join(name.replace("_", " ") for name in curve[0]) + " |",
        "|" + "---|" * len(curve[0]),
        *("| " + " | ".join(f"{value:.3g}" for value in row.values()) + " |" for row in rows),
    ]

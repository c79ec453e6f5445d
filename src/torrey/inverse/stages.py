"""The sequence of problems through which a shape is fitted: its size, then its form to falling errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import InputError
from ..shape import AbstractShape, Tube, Vertices
from ..shape.spline import DEGREE, refined_count

_LAYERS_PER_SPAN = 1.5
"""Layers that a span between knots takes before the last stage."""

_FEW, _FEWER = 300, 120
"""Measurements looked at before the last stage of a learned shape, and in models of five parameters."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of the fit.

    Attributes
    ----------
    name : str
        For progress and history.
    shape : AbstractShape
        Model and mesh of this stage.
    length_scale : float
        µm over which modes are resolved: those with λ ≤ D̄(π/ℓ)² at the start of the stage.
    sigma : float
        Error over S(0) below which this stage does not try to go: while it is large the prior keeps the shape
        plain.
    most_modes : int
        At most this many; a large shape has more than its signals need.
    most_measurements : int or None
        At most this many are looked at: a few hundred tell a rough shape of few parameters as well as
        thousands do. None for all.
    """

    name: str
    shape: AbstractShape
    length_scale: float
    sigma: float
    most_modes: int
    most_measurements: int | None = None

    def carry(self, before: AbstractShape, latent: Tensor) -> Tensor:
        """Return the latent in this stage's shape of what `latent` is in the shape of the stage `before`."""
        if isinstance(self.shape, Tube) and isinstance(before, Tube):
            return _insert_knots(before, latent, self.shape)
        return latent if before is self.shape else self.shape.carried(before, latent)


def stages(shape: AbstractShape) -> tuple[Stage, ...]:
    """Return the stages that lead to `shape`, the last one at its full number of parameters.

    Raises
    ------
    InputError
        When knots put in the middle of spans do not lead to the counts of a tube.
    """
    if isinstance(shape, Vertices):
        return (only_stage(shape),)
    if shape.n_relatives > 0:
        return (
            Stage("relatives", shape, 2.2, 1e-3, 40, _FEWER),
            Stage("relatives", shape, 1.5, 1e-4, 60, _FEW),
            only_stage(shape),
        )
    if not isinstance(shape, Tube):
        return (
            Stage("form", shape, 2.2, 2e-2, 40, _FEW),
            Stage("refine", shape, 1.8, 1e-3, 60, _FEW),
            Stage("settle", shape, 1.5, 5e-5, 80, _FEW),
            only_stage(shape),
        )
    _require_reachable(shape)
    spans = max(shape.n_control, shape.n_radius) - DEGREE
    layers = min(shape.n_layers, max(12, math.ceil(_LAYERS_PER_SPAN * spans)))
    coarse = replace(shape, n_control=4, n_radius=4, n_rings=1, n_layers=8)
    whole = replace(shape, n_rings=1, n_layers=layers)
    return (
        Stage("size", coarse, 2.2, 2e-2, 30),
        Stage("form", whole, 2.0, 5e-3, 60),
        Stage("refine", whole, 1.8, 5e-4, 60),
        only_stage(shape),
    )


def only_stage(shape: AbstractShape) -> Stage:
    """Return the stage that fits all of `shape`."""
    if isinstance(shape, Tube):
        return Stage("detail", replace(shape, n_rings=1), 1.5, 0.0, 60)
    return Stage("all", shape, 1.2, 0.0, 80)


def _insert_knots(before: Tube, latent: Tensor, after: Tube) -> Tensor:
    tube = before
    while (tube.n_control, tube.n_radius) != (after.n_control, after.n_radius):
        centreline, radius = tube.n_control < after.n_control, tube.n_radius < after.n_radius
        tube, latent = tube.refined(latent, centreline=centreline, radius=radius)
    return latent


def _require_reachable(tube: Tube) -> None:
    for name in ("n_control", "n_radius"):
        wanted, counts = getattr(tube, name), [4]
        while counts[-1] < wanted:
            counts.append(refined_count(counts[-1]))
        if counts[-1] != wanted:
            raise InputError(
                f"Tube: {name} is {wanted}, which halving spans does not reach; "
                f"expected one of {', '.join(map(str, counts))}"
            )

"""Coarse to fine: the sequence of smaller problems through which a shape is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..errors import InputError
from ..shape import AbstractShape, Tube
from ..shape.spline import refined_count
from .measurement import WEAK

_LOW_B = 1500.0
"""s/mm²: up to here a signal depends on the size and the coarse shape almost alone."""


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
    max_bval : float
        s/mm²; stronger measurements wait for a later stage, but for the weakest third of the weighted.
    most_modes : int
        At most this many; a large shape has more than its signals need.
    """

    name: str
    shape: AbstractShape
    length_scale: float
    sigma: float
    max_bval: float
    most_modes: int = 80

    def rows(self, bvals: Tensor) -> Tensor:
        """Return which measurements (N,) of `bvals` (N,), s/mm², this stage fits."""
        weighted = bvals[bvals > WEAK]
        # a shell's b-values differ by rounding
        third = 1.01 * float(weighted.quantile(1 / 3)) if len(weighted) else 0.0
        return bvals <= max(self.max_bval, third)

    def carry(self, before: AbstractShape, latent: Tensor) -> Tensor:
        """Return the latent in this stage's shape of what `latent` is in the shape of the stage `before`."""
        if isinstance(self.shape, Tube) and isinstance(before, Tube):
            return _insert_knots(before, latent, self.shape)
        return latent


def stages(shape: AbstractShape) -> tuple[Stage, ...]:
    """Return the stages that lead to `shape`, the last one at its full number of parameters.

    Raises
    ------
    InputError
        When knots put in the middle of spans do not lead to the counts of a tube.
    """
    if not isinstance(shape, Tube):
        return (only_stage(shape),)
    _require_reachable(shape)
    first = replace(shape, n_control=4, n_radius=4, n_rings=1, n_layers=8)
    middle = replace(first, n_control=min(5, shape.n_control), n_radius=min(7, shape.n_radius), n_layers=12)
    return (
        Stage("size", first, 2.2, 2e-2, _LOW_B, 30),
        Stage("bend", first, 2.0, 2e-3, _LOW_B, 40),
        Stage("form", middle, 1.5, 1e-3, float("inf"), 60),
        only_stage(shape),
    )


def only_stage(shape: AbstractShape) -> Stage:
    """Return the stage that fits all of `shape` to all measurements."""
    if not isinstance(shape, Tube):
        return Stage("all", shape, 1.2, 2e-4, float("inf"))
    last = replace(shape, n_rings=1)
    return Stage("detail", last, 1.3, 2e-4, float("inf"))


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

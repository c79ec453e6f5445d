"""Streamlines as DIPY makes them: two halves from a seed, each until it has to end, and rules on length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ....errors import InputError
from ...streamlines import Streamlines
from ..adjoint import points_of, pull_back
from ..stepping import Euler, Method
from .batch import Propagation, grow_together
from .compiled import can_compile, grow_compiled
from .stages import STAGES, DipyRule
from .stopping import Stopping


class SeededAlgorithm(Protocol):
    """A way to read directions from a field: `MaximumDirection`, `SoftMaximumDirection`, `EuDX`."""

    @property
    def default_step(self) -> float:
        """DIPY's step, mm."""

    def rule(self, field: Any) -> DipyRule:
        """Return the rule for `field`."""

    def seed_directions(self, field: Any, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the seeds (m,) that have directions, repeated where they have more, and these (m, 3)."""


def track_dipy(
    field: Any,
    seeds: Tensor,
    directions: Tensor | None = None,
    *,
    algorithm: SeededAlgorithm,
    stopping: Stopping,
    step: float | Tensor | None = None,
    method: Method = Euler(),  # noqa: B008, a frozen value
    min_length: float = 2.0,
    max_length: float = 500.0,
) -> Streamlines:
    """Return the streamlines from `seeds`, as DIPY's `deterministic_tracking` and `eudx_tracking` do.

    A half ends where the algorithm finds no direction, or where `stopping` says so, without the point that
    was reached last. The second half starts from minus the first step of the first half. Streamlines with
    more points than ⌊max_length/step⌋, or fewer than ⌊min_length/step⌋, are dropped.

    Differentiable in the image of the field, the seeds and the step, with memory of the order of the
    points. Where streamlines end is taken as it is: points keep their gradients, their number has none.

    Parameters
    ----------
    field : SHField or PeakField
        What `algorithm` follows.
    seeds : (S, 3) Tensor
        mm.
    directions : (S, 3) Tensor, optional
        Unit vectors in world axes to start along. By default the largest amplitude at the seed, or each peak
        of the voxel nearest to it, with one streamline a peak.
    algorithm : MaximumDirection, SoftMaximumDirection or EuDX
        How a direction is chosen.
    stopping : ThresholdStopping or BinaryStopping
        Where streamlines end.
    step : float or Tensor, optional
        mm. By default the algorithm's in DIPY: 0.2, EuDX 0.5.
    method : Euler or RungeKutta
        DIPY has Euler's. The mean of Runge–Kutta's stages is not normalised here: steps are chords and the
        error is of fourth order. Every stage keeps to the angle of the algorithm.
    min_length, max_length : float
        mm.

    Raises
    ------
    InputError
        When shapes do not fit, a direction is not of unit length or a setting is out of range.

    Notes
    -----
    DIPY gives directions, and wants those of seeds, in the axes of the image; here they are in those of the
    world, also where the affine is oblique or flips an axis.
    """
    step = torch.as_tensor(algorithm.default_step if step is None else step, dtype=torch.float64)
    _check(seeds, directions, step, min_length, max_length)
    if type(method) not in STAGES:
        raise InputError(f"method is {method!r}; expected Euler() or RungeKutta()")
    rule, stages, seeds = algorithm.rule(field), STAGES[type(method)], seeds.double()
    which = torch.arange(len(seeds), device=seeds.device)
    if directions is None:
        which, directions = algorithm.seed_directions(field, seeds.detach())
    size = float(step.detach())
    how = Propagation(rule, stages, stopping, step.detach(), int(min_length / size), int(max_length / size))
    with torch.no_grad():
        starts, forward = seeds[which], directions.detach().double()
        grow = grow_compiled if can_compile(how, starts) else grow_together
        trajectories = grow(how, starts, forward)
        trajectories = replace(trajectories, seed_indices=which[trajectories.seed_indices])

    def move(image: Tensor, points: Tensor, references: Tensor, step: Tensor) -> Tensor:
        return points + step * stages(rule, image, points, references, step).directions

    points = points_of(
        trajectories,
        image=rule.image,
        seeds=seeds,
        step=step,
        pull_back=lambda cotangents: pull_back(move, trajectories, cotangents, image=rule.image, step=step),
    )
    places = trajectories.seed_rows - trajectories.offsets[:-1]
    return Streamlines(points, trajectories.offsets, trajectories.seed_indices, places)


def _check(
    seeds: Tensor, directions: Tensor | None, step: Tensor, min_length: float, max_length: float
) -> None:
    if seeds.dim() != 2 or seeds.shape[1] != 3:
        raise InputError(f"seeds have shape {tuple(seeds.shape)}; expected (S, 3)")
    if directions is not None:
        if directions.shape != seeds.shape:
            raise InputError(
                f"directions have shape {tuple(directions.shape)}; expected {tuple(seeds.shape)}"
            )
        lengths = directions.detach().norm(dim=1)
        wrong = ((lengths - 1).abs() > 0.01).nonzero()
        if len(wrong):
            row = int(wrong[0, 0])
            raise InputError(f"direction {row} has length {float(lengths[row]):g}; expected unit vectors")
    if step.dim() or not float(step.detach()) > 0:
        raise InputError(f"step is {step.tolist()}; expected one number of mm above 0")
    if not 0 <= min_length <= max_length:
        raise InputError(f"lengths are {min_length} to {max_length} mm; expected 0 ≤ min_length ≤ max_length")

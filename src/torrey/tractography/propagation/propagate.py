"""`propagate`: streamlines from seeds, through which gradients flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import InputError
from ..fields import DiffusionField, SHField
from ..regions import Region
from ..streamlines import Streamlines
from .adjoint import points_of
from .engines import Run, engine_for
from .limits import Limits, steps_in
from .rules import Algorithm
from .stepping import Euler, Method
from .usual import usual_algorithm

_MIN_LENGTH, _MAX_LENGTH = 5, 100
"""Usual lengths in voxels: MRtrix's."""


def propagate(
    field: SHField | DiffusionField,
    seeds: Tensor,
    *,
    algorithm: Algorithm | None = None,
    method: Method = Euler(),  # noqa: B008, a frozen value
    directions: Tensor | None = None,
    step: float | Tensor | None = None,
    angle: float = 60.0,
    cutoff: float = 0.1,
    min_length: float | None = None,
    max_length: float | None = None,
    mask: Region | None = None,
    include: Sequence[Region] = (),
    exclude: Sequence[Region] = (),
    unidirectional: bool = False,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Streamlines:
    """Grow a streamline from each seed, with MRtrix's rules and defaults.

    Points are differentiable in the field's image, the seeds and the step. Where a streamline ends is a
    decision, which has no derivative: the points before it keep theirs. `survival` softens it.

    Parameters
    ----------
    field : SHField or DiffusionField
        What to follow.
    seeds : (S, 3) Tensor
        mm, world RAS+; the streamlines take their dtype. Positions are float64 within.
    algorithm : Algorithm, optional
        How to read directions; `SDStream()` for an SHField and `TensorDet()` for a DiffusionField.
    method : Method
        `Euler()` or `RungeKutta()`.
    directions : (S, 3) or (3,) Tensor, optional
        Where each streamline starts to, from which `SDStream` climbs to a peak. Random if not given, as in
        MRtrix.
    step : float or scalar Tensor, optional
        mm; 0.1 voxels for Euler and 0.25 for Runge–Kutta, a voxel being the cube root of its volume.
    angle : float
        Largest angle between steps, degrees, in (0, 90].
    cutoff : float
        Least amplitude (`SDStream`) or fractional anisotropy (`TensorDet`).
    min_length, max_length : float, optional
        mm; 5 and 100 voxels. Streamlines stop at the latter; shorter ones than the former are dropped.
    mask : Region, optional
        Streamlines end before they leave it; seeds outside it are dropped.
    include, exclude : sequence of Region
        Streamlines that do not enter all of the first, or enter any of the second, are dropped.
    unidirectional : bool
        Whether to grow to one side of the seed only.
    generator : torch.Generator, optional
        For random directions; one seeded with 0 if not given, so that a call can be repeated.
    progress : callable, optional
        Called with the number of seeds done and of all, from time to time.

    Returns
    -------
    Streamlines
        Those that were kept, in the order of their seeds, with `seed_indices` and `seed_places`.

    Raises
    ------
    InputError
        When a value is out of its range, or a seed is outside the image.
    """
    rule = (algorithm or usual_algorithm(field)).rule(field)
    seeds = _checked_seeds(field, seeds)
    voxel = field.grid.voxel_size
    step = torch.as_tensor(method.usual_step * voxel if step is None else step, dtype=torch.float64)
    limits = _limits(
        angle=angle,
        cutoff=cutoff,
        step=float(step.detach()),
        least=_MIN_LENGTH * voxel if min_length is None else min_length,
        most=_MAX_LENGTH * voxel if max_length is None else max_length,
        regions=(mask, tuple(include), tuple(exclude)),
    )
    directions = _checked_directions(directions, seeds, generator)

    run = Run(rule, method, float(step.detach()), limits, unidirectional)
    engine = engine_for(rule)
    starts = seeds.detach().double().contiguous()
    trajectories = engine.grow(run, starts, directions.double().contiguous(), progress)
    points = points_of(
        trajectories,
        image=rule.image,
        seeds=seeds,
        step=step,
        pull_back=lambda cotangents: engine.pull_back(run, trajectories, cotangents),
    )
    places = trajectories.seed_rows - trajectories.offsets[:-1]
    return Streamlines(points, trajectories.offsets, trajectories.seed_indices, places)


def _checked_seeds(field: SHField | DiffusionField, seeds: Tensor) -> Tensor:
    if seeds.dim() != 2 or seeds.shape[1] != 3:
        raise InputError(f"seeds have shape {tuple(seeds.shape)}; expected (S, 3)")
    outside = field.grid.voxel_of(seeds.detach().double()) < 0
    if bool(outside.any()):
        index = int(outside.nonzero()[0, 0])
        place = ", ".join(f"{x:g}" for x in seeds[index].tolist())
        raise InputError(
            f"seed {index} at ({place}) mm is outside the image; expected it in one of its voxels"
        )
    return seeds


def _checked_directions(
    directions: Tensor | None, seeds: Tensor, generator: torch.Generator | None
) -> Tensor:
    if directions is None:
        generator = generator or torch.Generator().manual_seed(0)
        directions = torch.randn(
            seeds.shape, generator=generator, device=generator.device, dtype=torch.float64
        )
    directions = directions.detach().to(seeds.device)
    if directions.shape not in {seeds.shape, (3,)}:
        shapes = f"{tuple(directions.shape)}; expected {tuple(seeds.shape)} or (3,)"
        raise InputError(f"directions have shape {shapes}")
    directions = directions.expand(seeds.shape)
    lengths = directions.norm(dim=1)
    wrong = ~((lengths > 0) & lengths.isfinite())
    if bool(wrong.any()):
        index = int(wrong.nonzero()[0, 0])
        raise InputError(f"direction {index} is {directions[index].tolist()}; expected finite and not zero")
    towards: Tensor = directions / lengths[:, None]
    return towards


def _limits(
    *,
    angle: float,
    cutoff: float,
    step: float,
    least: float,
    most: float,
    regions: tuple[Region | None, tuple[Region, ...], tuple[Region, ...]],
) -> Limits:
    if not 0 < step < math.inf:
        raise InputError(f"step is {step:g}; expected a positive length in mm")
    if not 0 < angle <= 90:
        raise InputError(f"angle is {angle:g}; expected degrees in (0, 90]")
    if not cutoff >= 0:
        raise InputError(f"cutoff is {cutoff:g}; expected 0 or more")
    if not 0 <= least <= most < math.inf:
        raise InputError(f"min_length {least:g} and max_length {most:g}; expected 0 ≤ min ≤ max, in mm")
    return Limits(
        cutoff=cutoff,
        cosine=math.cos(math.radians(angle)),
        most_points=3 + steps_in(most, step),
        least_points=1 + steps_in(least, step),
        mask=regions[0],
        include=regions[1],
        exclude=regions[2],
    )

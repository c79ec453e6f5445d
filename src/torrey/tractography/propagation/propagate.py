"""`propagate`: streamlines from seeds, through which gradients flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..fields import DiffusionField, SHField
from ..regions import Region
from ..streamlines import Streamlines
from .adjoint import points_of
from .engines import Run, engine_for
from .inputs import checked_directions, checked_seeds
from .limits import Limits
from .rules import Algorithm
from .stepping import Euler, Method
from .usual import usual_algorithm


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
    seeds = checked_seeds(field, seeds)
    voxel = field.grid.voxel_size
    step = torch.as_tensor(method.usual_step * voxel if step is None else step, dtype=torch.float64)
    length = float(step.detach())
    limits = Limits.of(
        voxel=voxel,
        step=length,
        angle=angle,
        cutoff=cutoff,
        lengths=(min_length, max_length),
        mask=mask,
        include=include,
        exclude=exclude,
    )
    directions = checked_directions(directions, seeds, generator)

    run = Run(rule, method, length, limits, unidirectional)
    engine = engine_for(run)
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

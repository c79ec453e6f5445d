"""`IFOD1` and `sample_streamlines`: streamlines along directions drawn from orientation distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ..fields import SHField
from ..regions import Region
from ..streamlines import Streamlines
from . import compiled
from .arrays import polynomial_image, regions_of
from .inputs import checked_directions, checked_seeds
from .limits import Limits
from .sd_stream import SDStream

_STEP = 0.1
"""Usual step in voxels: MRtrix's."""


@dataclass(frozen=True)
class IFOD1:
    """Draw each direction from the orientation distribution within a cone about the last one.

    What MRtrix calls iFOD1 (Tournier et al., Int. J. Imaging Syst. Technol. 2012). Candidates are uniform in
    the cone; one with an amplitude F not below the cutoff is accepted with probability (F / F_max)^power, so
    directions come in proportion to F^power. F_max bounds the amplitude in the cone.

    Parameters
    ----------
    power : float
        Above 0. Powers above 1 keep closer to the peaks.
    trials : int
        Candidates for a step. A streamline ends where all of them are refused.
    seed_trials : int
        Candidates for the direction at a seed, which is uniform among those not below the cutoff. A seed
        where all of them are below makes no streamline.
    """

    power: float = 1.0
    trials: int = 1000
    seed_trials: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.power < math.inf:
            raise InputError(f"power is {self.power:g}; expected a number above 0")
        for name in ("trials", "seed_trials"):
            if not 1 <= getattr(self, name) < 2**32:
                raise InputError(f"{name} is {getattr(self, name)}; expected 1 or more, below 2^32")


def sample_streamlines(
    field: SHField,
    seeds: Tensor,
    *,
    algorithm: IFOD1 = IFOD1(),
    random_seed: int = 0,
    first: int = 0,
    directions: Tensor | None = None,
    step: float | Tensor | None = None,
    angle: float = 15.0,
    cutoff: float = 0.1,
    min_length: float | None = None,
    max_length: float | None = None,
    mask: Region | None = None,
    include: Sequence[Region] = (),
    exclude: Sequence[Region] = (),
    unidirectional: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Streamlines:
    """Draw a streamline from each seed, with the rules and defaults of MRtrix's iFOD1.

    A random number depends on `random_seed`, the number of its streamline, the place along it and the trial,
    and on nothing else: neither threads nor the order of the work change a streamline.

    At fixed directions points are seed + step · Σ directions, and so they are differentiable in the seeds and
    the step. They are not in the field, on which the chances of a direction depend and not the direction: a
    gradient of zero would mislead.

    Parameters
    ----------
    field : SHField
        What to draw from: on the CPU, of a degree up to 8, and without gradients.
    seeds : (S, 3) Tensor
        mm, world RAS+; the streamlines take their dtype. Repeat a seed to draw from it more than once.
    algorithm : IFOD1
        How directions are drawn.
    random_seed : int
        From 0 to 2⁶³ − 1.
    first : int
        Number of the first streamline: how many seeds came before in a run that is split in parts.
    directions : (S, 3) or (3,) Tensor, optional
        Where each streamline starts to. Random if not given.
    step : float or scalar Tensor, optional
        mm; 0.1 voxels, a voxel being the cube root of its volume.
    angle : float
        Of the cone: largest angle between steps, degrees, in (0, 90].
    cutoff : float
        Least amplitude of a direction.
    min_length, max_length, mask, include, exclude, unidirectional, progress
        As in `propagate`.

    Returns
    -------
    Streamlines
        Those that were kept, in the order of their seeds, with `seed_indices` and `seed_places`.

    Raises
    ------
    InputError
        When a value is out of its range, a seed is outside the image, or the field is of another kind or
        carries gradients.
    """
    _check(field, random_seed, first)
    seeds = checked_seeds(field, seeds)
    voxel = field.grid.voxel_size
    step = torch.as_tensor(_STEP * voxel if step is None else step, dtype=torch.float64)
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
    starts = seeds.detach().double()
    towards = torch.full_like(starts, math.nan)
    if directions is not None:
        towards = checked_directions(directions, seeds, None).double()
    drawn = compiled.grow_drawn(
        polynomial_image(SDStream().rule(field)),
        starts.numpy(),
        towards.contiguous().numpy(),
        compiled.cone_of(math.radians(angle), field.degree),
        compiled.Drawing(
            step=length,
            cutoff=cutoff,
            power=algorithm.power,
            trials=algorithm.trials,
            seed_trials=algorithm.seed_trials,
            most_points=limits.most_points,
            least_points=limits.least_points,
            unidirectional=unidirectional,
            key=random_seed,
            first=first,
        ),
        regions=regions_of(limits),
        progress=None if progress is None else lambda done: progress(done, len(seeds)),
    )
    offsets, indices = torch.from_numpy(drawn.offsets), torch.from_numpy(drawn.seed_indices)
    points = _attached(torch.from_numpy(drawn.points), seeds, step, indices, offsets)
    return Streamlines(points, offsets, indices, torch.from_numpy(drawn.seed_rows) - offsets[:-1])


def _attached(points: Tensor, seeds: Tensor, step: Tensor, indices: Tensor, offsets: Tensor) -> Tensor:
    """Return `points` in the type of the seeds, with their derivatives in `seeds` and `step`."""
    if not (torch.is_grad_enabled() and (seeds.requires_grad or step.requires_grad)):
        return points.to(seeds.dtype)
    owners = indices.repeat_interleave(offsets.diff())
    origins = seeds.double()[owners]
    held = (points - origins.detach()) / step.detach()  # the sums of directions
    # what is added is zero: values stay as they were drawn
    moved = points + (origins - origins.detach()) + (step - step.detach()) * held
    return moved.to(seeds.dtype)


def _check(field: SHField, random_seed: int, first: int) -> None:
    if not isinstance(field, SHField):
        raise InputError(f"field is a {type(field).__name__}; expected an SHField for IFOD1")
    if field.coefficients.requires_grad:
        raise InputError(
            "field carries gradients, and what is drawn from it has none; expected it detached, or use "
            "propagate with SDStream, or survival, for derivatives in the field"
        )
    if field.coefficients.device.type != "cpu":
        raise InputError(f"field is on {field.coefficients.device}; expected it on the CPU for IFOD1")
    if field.degree > compiled.MAX_DEGREE:
        raise InputError(f"field has degree {field.degree}; expected at most {compiled.MAX_DEGREE} for IFOD1")
    if not 0 <= random_seed < 2**63:
        raise InputError(f"random_seed is {random_seed}; expected an integer from 0 to 2^63 - 1")
    if not 0 <= first < 2**62:
        raise InputError(f"first is {first}; expected the number of a streamline, from 0")

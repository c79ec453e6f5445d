"""The soft end of streamlines: how likely each point is still to be reached.

Where a streamline ends is a decision without a derivative. Give every point j the chance σ((A_j − c)/w) to be
passed, A its amplitude, c the cutoff and w a width: the chance to arrive at point k is the product from the
seed to k,

    s_k = Π_j σ((A_j − c)/w),   expected length Σ_k s_k |p_k − p_{k−1}|,   chance to end at k: s_k − s_{k+1},

which are differentiable in the image and in the points. As w → 0, s_k is 1 up to the first point below the
cutoff and 0 from there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ...errors import InputError
from ..fields import DiffusionField, SHField
from ..streamlines import Streamlines
from .rules import Algorithm, Rule
from .usual import usual_algorithm

_POINTS_AT_ONCE = 16_384
"""Points whose amplitudes are taken together, and again on the way back: nothing of them is kept."""


def survival(
    field: SHField | DiffusionField,
    tracks: Streamlines,
    *,
    cutoff: float | Tensor,
    width: float,
    algorithm: Algorithm | None = None,
) -> Tensor:
    """Return the chance (P,) of each point of `tracks` to be reached from its seed.

    Grow the streamlines with a cutoff some widths below this one, so that they go on to where the chance is
    nil.

    Parameters
    ----------
    field : SHField or DiffusionField
        What the streamlines followed.
    tracks : Streamlines
        As `propagate` returns them: with the places of their seeds.
    cutoff : float or scalar Tensor
        Amplitude at which the chance to go on is one half; may carry a gradient.
    width : float
        Amplitude over which it changes, positive.
    algorithm : Algorithm, optional
        How amplitudes are read, as for `propagate`.

    Raises
    ------
    InputError
        When the width is not positive, or the places of the seeds are not known.
    """
    if not width > 0:
        raise InputError(f"width is {width:g}; expected a positive amplitude")
    if tracks.seed_places is None:
        raise InputError(
            "seed_places of the streamlines are not known; expected those that propagate returns"
        )
    rule = (algorithm or usual_algorithm(field)).rule(field)
    passed = functional.logsigmoid((amplitudes(rule, tracks) - cutoff) / width)
    return _outwards(passed, tracks)


def amplitudes(rule: Rule, tracks: Streamlines) -> Tensor:
    """Return the amplitude (P,) along each streamline at its points, differentiable in image and points."""
    along = _tangents(tracks)

    def read(image: Tensor, points: Tensor, references: Tensor) -> Tensor:
        return rule.heading(image, points, references).amplitudes

    parts = [
        checkpoint(read, rule.image, points, references, use_reentrant=False)
        for points, references in zip(
            tracks.points.split(_POINTS_AT_ONCE), along.split(_POINTS_AT_ONCE), strict=True
        )
    ]
    return torch.cat(parts) if parts else tracks.points.new_zeros(0)


def expected_lengths(tracks: Streamlines, chances: Tensor) -> Tensor:
    """Return the lengths (S,) in mm, each piece weighted by the chance (P,) of its end away from the seed."""
    within = tracks.owners[1:] == tracks.owners[:-1]
    farther = torch.minimum(chances[1:], chances[:-1])[within]
    pieces = tracks.points.diff(dim=0)[within].norm(dim=1) * farther
    lengths: Tensor = pieces.new_zeros(len(tracks)).index_add(0, tracks.owners[1:][within], pieces)
    return lengths


def end_chances(tracks: Streamlines, chances: Tensor) -> Tensor:
    """Return the chance (P,) that a half of a streamline ends at each point.

    Each half sums to the chance of its seed. A seed, at which both halves may end, counts both.
    """
    rows = torch.arange(len(chances), device=chances.device)
    seeds = _seed_rows(tracks)[tracks.owners]
    first, last = tracks.offsets[:-1][tracks.owners], tracks.offsets[1:][tracks.owners] - 1
    before = torch.where(rows > first, chances[(rows - 1).clamp_min(0)], 0.0)
    after = torch.where(rows < last, chances[(rows + 1).clamp_max(len(rows) - 1)], 0.0)
    backward = torch.where(rows <= seeds, chances - before, 0.0)
    forward = torch.where(rows >= seeds, chances - after, 0.0)
    return backward + forward


def _seed_rows(tracks: Streamlines) -> Tensor:
    assert tracks.seed_places is not None
    return tracks.offsets[:-1] + tracks.seed_places


def _tangents(tracks: Streamlines) -> Tensor:
    """Return unit vectors (P, 3) along the streamlines, without gradients."""
    points, owners = tracks.points.detach(), tracks.owners
    steps = points.diff(dim=0)
    within = owners[1:] == owners[:-1]
    steps = torch.where(within[:, None], steps, 0.0)
    zero = steps.new_zeros(1, 3)
    sums = torch.cat([zero, steps]) + torch.cat([steps, zero])
    units: Tensor = sums / sums.norm(dim=1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)
    return units


def _outwards(logarithms: Tensor, tracks: Streamlines) -> Tensor:
    """Return e^(sum) (P,) of `logarithms` (P,) from each streamline's seed, included, to each point."""
    sums = logarithms.double().cumsum(0)
    seeds = _seed_rows(tracks)[tracks.owners]
    rows = torch.arange(len(sums), device=sums.device)
    own = logarithms.double()
    after = sums - sums[seeds] + own[seeds]
    before = sums[seeds] - sums + own
    return torch.where(rows >= seeds, after, before).exp().to(logarithms.dtype)

"""The lobes of fibre orientation distributions: the highest peaks, and the mean direction of the first."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from ..harmonics import degree_of, harmonics
from ..peaks import Ascent, find_peaks
from ..polynomial import from_harmonics
from .directions import spiral_directions

_N_STARTS = 6
"""Highest maxima of the samples from which peaks are climbed."""

_SAME_PEAK = 0.02
"""Sine of the angle between two ends of an ascent below which they are one peak."""

_CHUNK = 4096  # voxels


def two_peaks(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Return amplitudes (V, 2) and directions (V, 2, 3) of the highest peaks of FODs (V, n).

    Both are zero for a peak that is not there. The samples are 4° apart: at 9°, shallow second peaks go
    unseen, which changes the voxels that `SinglePeak` chooses.
    """
    parts = [_two_peaks(part) for part in coefficients.split(_CHUNK)]
    return torch.cat([amplitudes for amplitudes, _ in parts]), torch.cat([ends for _, ends in parts])


def _two_peaks(coefficients: Tensor) -> tuple[Tensor, Tensor]:
    degree = degree_of(coefficients.shape[1])
    samples = _dense().to(coefficients)
    values = coefficients @ harmonics(samples, degree).T
    summit = values >= values[:, _neighbours(_dense)].amax(2)
    heights, places = values.where(summit & (values > 0), 0.0).topk(_N_STARTS, 1)
    polynomials = from_harmonics(coefficients, degree).repeat_interleave(_N_STARTS, 0)
    climbed = find_peaks(polynomials, samples[places.flatten()], degree, Ascent())
    usable = (heights > 0) & climbed.found.view_as(heights)
    amplitudes = climbed.amplitudes.view_as(heights).where(usable, 0.0)
    amplitudes, order = amplitudes.sort(1, descending=True)
    ends = climbed.directions.view(*heights.shape, 3).gather(1, order[..., None].expand(-1, -1, 3))
    apart = torch.linalg.cross(ends, ends[:, :1].expand_as(ends)).norm(dim=2) > _SAME_PEAK
    second = amplitudes.where(apart, 0.0).argmax(1)
    row = torch.arange(len(second))
    found = apart[row, second]
    two = torch.stack([amplitudes[:, 0], amplitudes[row, second].where(found, 0.0)], 1)
    return two, torch.stack([ends[:, 0], ends[row, second].where(found[:, None], 0.0)], 1)


def lobe_directions(coefficients: Tensor, peaks: Tensor) -> Tensor:
    """Return the mean directions (V, 3), weighted by amplitude, of the lobes that hold `peaks` (V, 3).

    A lobe is what drains to its peak by steepest ascent over samples 4° apart; Smith et al., NeuroImage 67,
    298 (2013), appendix 2, cut FODs alike, in another order.
    """
    samples = _dense().to(coefficients)
    values = coefficients @ harmonics(samples, degree_of(coefficients.shape[1])).T
    around = torch.cat([torch.arange(len(samples))[:, None], _neighbours(_dense)], 1)
    uphill = around.expand(len(values), -1, -1).gather(2, values[:, around].argmax(2, keepdim=True))[..., 0]
    while not torch.equal(further := uphill.gather(1, uphill), uphill):
        uphill = further
    cosines = peaks @ samples.T
    nearest = cosines.abs().argmax(1, keepdim=True)
    inside = uphill == uphill.gather(1, nearest)
    total = (values.clamp(min=0) * inside * cosines.sign()) @ samples
    mean: Tensor = total / total.norm(dim=1, keepdim=True)
    return mean


@cache
def _dense() -> Tensor:
    return spiral_directions(1281)


@cache
def _neighbours(directions: Callable[[], Tensor]) -> Tensor:
    """Return the neighbours (D, k) of each axis on the hull of both ends; short rows end in the axis."""
    vectors = directions().numpy()
    n = len(vectors)
    triangles = ConvexHull(np.concatenate([vectors, -vectors])).simplices % n
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    place = np.arange(len(edges)) - np.searchsorted(edges[:, 0], edges[:, 0])
    table = np.tile(np.arange(n)[:, None], (1, int(place.max()) + 1))
    table[edges[:, 0], place] = edges[:, 1]
    return torch.from_numpy(table)

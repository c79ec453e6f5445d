r"""Attenuation rates q(t)ᵀD_i q(t), as `Karger` steps through them; q is the integral of the gradient.

A piece of the time course is S equal steps of h ms, with the rates of k measurements and C compartments at
the two Gauss points of each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .timing import PulseTiming, RasterTiming

GAUSS = math.sqrt(3) / 6
"""Distance of the Gauss points from the middle of a step of length one."""


class Piece(NamedTuple):
    """Steps of `length` h, ms, and the rates (S, k, C), 1/ms, at their Gauss points."""

    length: float
    first: Tensor
    second: Tensor


def pulse_pieces(timing: PulseTiming, rates: Tensor, count: int) -> Iterator[Piece]:
    """Yield pieces of F(t)² times `rates` (k, C), with `count` steps for each part of a pulse.

    One step is exact where F is constant.
    """
    wound = 0.0
    for interval in timing.intervals:
        steps = count if interval.pulse else 1
        h = (interval.end - interval.start) / steps
        edges = interval.start + h * torch.arange(steps, dtype=torch.float64)[:, None]
        # the end of a step comes third, so that the next begins there
        points = edges + h * torch.tensor([0.5 - GAUSS, 0.5 + GAUSS, 1.0], dtype=torch.float64)
        times = torch.cat([torch.tensor([interval.start], dtype=torch.float64), points.ravel()])
        F = wound + timing.integral(interval, times).cumsum(0)
        first, second, _ = F.square().to(rates).view(steps, 3, 1, 1).unbind(1)
        yield Piece(h, first * rates, second * rates)
        wound = float(F[-1])


def raster_pieces(
    timing: RasterTiming, gradient: Tensor, form: Callable[[Tensor], Tensor], count: int
) -> Iterator[Piece]:
    """Yield pieces of a `gradient` γg (k, K, 3), rad/(µm ms), constant on K cells of `count` steps each.

    `form` takes q (..., k, 3), rad/µm, to qᵀD_i q (..., k, C), 1/ms.
    """
    edges = timing.raster * torch.nn.functional.pad(gradient.cumsum(1), (0, 0, 1, 0))
    rest = form(torch.zeros_like(edges[None, :, 0]))
    h = timing.raster / count
    begins = torch.arange(count, dtype=edges.dtype, device=edges.device)[:, None, None] / count
    yield Piece(timing.lead, rest, rest)
    for begin, end in zip(edges[:, :-1].unbind(1), edges[:, 1:].unbind(1), strict=True):
        first, second = (
            form(begin + (begins + (0.5 + offset) / count) * (end - begin)) for offset in (-GAUSS, GAUSS)
        )
        yield Piece(h, first, second)
    yield Piece(timing.lead, rest, rest)

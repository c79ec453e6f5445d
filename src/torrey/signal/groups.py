"""Group measurements that share gradient axis and pulse duration, so that each axis is diagonalised once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_AXIS_DECIMALS = 10
"""Axes that agree to this many decimals are one; far below the effect on any signal, far above rounding."""


@dataclass(frozen=True, eq=False)
class MeasurementGroups:
    """G groups of up to C measurements; a group shares one axis u and one pulse duration δ.

    Attributes
    ----------
    axes : (G, 3) Tensor
        Unit vector u; q and −q share an axis.
    small_delta : (G,) Tensor
        δ, ms.
    wave_number : (G, C) Tensor
        Signed q with q u the wave vector, rad/(µm ms); zero where there is no measurement.
    pause : (G, C) Tensor
        Δ − δ, ms.
    slot : (N,) Tensor
        Place of each measurement in the flattened (G, C).
    """

    axes: Tensor
    small_delta: Tensor
    wave_number: Tensor
    pause: Tensor
    slot: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Take `values` (N, ...) to their places in (G, C, ...), zero elsewhere."""
        table = values.new_zeros(self.wave_number.numel(), *values.shape[1:])
        table[self.slot] = values
        return table.view(*self.wave_number.shape, *values.shape[1:])

    def scatter(self, table: Tensor) -> Tensor:
        """Take a (G, C, ...) `table` back to (N, ...)."""
        return table.flatten(0, 1)[self.slot]

    def chunks(self, floats_per_group: int) -> Iterator[slice]:
        """Yield slices of groups whose work arrays stay near 64 MB."""
        return chunks(len(self.axes), floats_per_group)


def chunks(count: int, floats_each: int) -> Iterator[slice]:
    """Yield slices of `count` things whose work arrays, of `floats_each`, stay near 64 MB."""
    step = max(1, 8_000_000 // max(1, floats_each))
    for start in range(0, count, step):
        yield slice(start, start + step)


def group_measurements(wave_vectors: Tensor, small_delta: Tensor, big_delta: Tensor) -> MeasurementGroups:
    """Group N measurements with `wave_vectors` (N, 3) rad/(µm ms), `small_delta` and `big_delta` (N,) ms."""
    axes, signed = signed_axes(wave_vectors)
    resting = signed == 0
    key = torch.cat([axes.round(decimals=_AXIS_DECIMALS), small_delta[:, None]], dim=1)
    key[resting] = _any_group_with(key, small_delta, resting)
    unique, group = torch.unique(key, dim=0, return_inverse=True)
    order = torch.argsort(group, stable=True)
    sizes = torch.bincount(group, minlength=len(unique))
    first = sizes.cumsum(0) - sizes
    column = torch.empty_like(group)
    column[order] = torch.arange(len(group), device=group.device) - first[group[order]]
    slot = group * int(sizes.max()) + column
    shape = (len(unique), int(sizes.max()))
    wave_number = signed.new_zeros(shape)
    wave_number.view(-1)[slot] = signed
    pause = signed.new_zeros(shape)
    pause.view(-1)[slot] = big_delta - small_delta
    exact_axes = unique[:, :3].clone()
    moving = ~resting
    exact_axes[group[moving]] = axes[moving]
    return MeasurementGroups(exact_axes, unique[:, 3], wave_number, pause, slot)


def signed_axes(wave_vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Split q (N, 3) into unit axes with a non-negative leading component and signed lengths."""
    length = wave_vectors.norm(dim=1)
    axes = torch.nn.functional.normalize(wave_vectors, dim=1, eps=1e-300)
    rounded = axes.round(decimals=_AXIS_DECIMALS)
    leading = rounded.gather(1, (rounded != 0).int().argmax(1, keepdim=True)).squeeze(1)
    sign = torch.where(leading < 0, -1.0, 1.0).to(length)
    return axes * sign[:, None], length * sign


def _any_group_with(key: Tensor, small_delta: Tensor, resting: Tensor) -> Tensor:
    """Spread measurements without a gradient over the axes that share their δ (z where there is none)."""
    rows = key[resting].clone()
    rows[:, 2] = 1.0
    for delta in torch.unique(small_delta[resting]):
        hosts = torch.unique(key[~resting & (small_delta == delta)], dim=0)
        guests = (small_delta[resting] == delta).nonzero().ravel()
        if len(hosts):
            rows[guests] = hosts[torch.arange(len(guests), device=key.device) % len(hosts)]
    return rows

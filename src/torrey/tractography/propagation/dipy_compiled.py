"""The compiled way to DIPY's streamlines, for what it covers: Euler's steps on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..grid import Grid
from .curves_adjoint import Curves
from .dipy_batch import Limits, turned_back
from .dipy_kernel import MAXIMUM, PEAKS, Stop, Tables, grow
from .eudx import PeakRule
from .maximum_direction import MaximumRule
from .rules import Rule
from .stopping import BinaryStopping, Stopping, ThresholdStopping, check_shape


def can_compile(rule: Rule, stopping: Stopping, seeds: Tensor) -> bool:
    """Tell whether `grow_compiled` knows the rule and the criterion. Results are equal to rounding either way."""
    known = type(rule) in (MaximumRule, PeakRule) and type(stopping) in (BinaryStopping, ThresholdStopping)
    return known and seeds.device.type == rule.image.device.type == "cpu"


def grow_compiled(
    rule: Rule, stopping: Stopping, starts: Tensor, forward: Tensor, step: float, limits: Limits
) -> tuple[Tensor, Curves]:
    """Return which streamlines from `starts` (S, 3) along `forward` (S, 3) are kept, and these."""
    grid = rule.grid
    voxels, before, after = grow(
        _tables(rule),
        _stop(stopping, grid),
        grid.to_voxels(starts).numpy(),
        (forward @ grid.world_to_axes.T).numpy(),
        (step / grid.voxel_sizes).numpy(),
        fewest=limits.fewest,
        most=limits.most,
    )
    n_before, n_after = torch.from_numpy(before), torch.from_numpy(after)
    total = n_before + n_after + 1
    kept = ((total >= limits.fewest) & (total <= limits.most)).nonzero()[:, 0]
    offsets = torch.cat([total.new_zeros(1), total[kept].cumsum(0)])
    centres = offsets[:-1] + n_before[kept]
    points = grid.to_world(torch.from_numpy(voxels))
    goes_on = n_after[kept] > 0
    first = points[centres[goes_on] + 1]
    backward = -forward[kept]
    backward[goes_on] = turned_back(grid, starts[kept][goes_on], first)
    points[centres] = starts[kept]
    return kept, Curves(points, offsets, centres, forward[kept], backward)


def _tables(rule: Rule) -> Tables:
    image, shape = rule.image.detach().contiguous().numpy(), np.array(rule.grid.shape, dtype=np.int64)
    if isinstance(rule, MaximumRule):
        vertices, basis = (
            np.ascontiguousarray(table.detach().T.numpy()) for table in (rule.vertices, rule.basis)
        )
        return Tables(MAXIMUM, image, shape, vertices, basis, rule.cosine, rule.threshold)
    assert isinstance(rule, PeakRule)
    none = np.empty((3, 0)), np.empty((0, 0))
    return Tables(PEAKS, image, shape, *none, rule.cosine, rule.least_weight)


def _stop(stopping: Stopping, grid: Grid) -> Stop:
    if isinstance(stopping, ThresholdStopping):
        check_shape(stopping.image, grid)
        return Stop(stopping.image.detach().reshape(-1).double().numpy(), stopping.threshold, False)
    assert isinstance(stopping, BinaryStopping)
    check_shape(stopping.mask, grid)
    return Stop((stopping.mask > 0).reshape(-1).double().numpy(), 0.0, True)

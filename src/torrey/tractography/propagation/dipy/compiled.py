"""The compiled way to DIPY's streamlines, for what it covers: Euler's steps on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...grid import Grid
from ..trajectories import Trajectories
from .batch import Propagation, turned_back
from .eudx import NeighbourRule
from .kernel import MAXIMUM, PEAKS, Stop, Tables, grow
from .maximum_direction import MaximumRule
from .stages import DipyRule, euler
from .stopping import BinaryStopping, Stopping, ThresholdStopping, check_shape


def can_compile(how: Propagation, starts: Tensor) -> bool:
    """Tell whether `grow_compiled` knows the rule and the criterion; results are equal to rounding."""
    known = type(how.rule) in (MaximumRule, NeighbourRule) and how.stages is euler
    known = known and type(how.stopping) in (BinaryStopping, ThresholdStopping)
    return known and starts.device.type == how.rule.image.device.type == "cpu"


def grow_compiled(how: Propagation, starts: Tensor, forward: Tensor) -> Trajectories:
    """Return the streamlines from `starts` (S, 3) along `forward` (S, 3) that are kept."""
    grid = how.rule.grid
    voxels, before, after = grow(
        _tables(how.rule, (how.step / grid.voxel_sizes).numpy()),
        _stop(how.stopping, grid),
        torch.stack([grid.to_voxels(starts), forward @ grid.world_to_axes.T], 1).numpy(),
        fewest=how.fewest,
        most=how.most,
        threads=torch.get_num_threads(),
    )
    n_before, n_after = torch.from_numpy(before), torch.from_numpy(after)
    total = n_before + n_after + 1
    kept = ((total >= how.fewest) & (total <= how.most)).nonzero()[:, 0]
    offsets = torch.cat([total.new_zeros(1), total[kept].cumsum(0)])
    centres = offsets[:-1] + n_before[kept]
    points = grid.to_world(torch.from_numpy(voxels))
    goes_on = n_after[kept] > 0
    first = points[centres[goes_on] + 1]
    backward = -forward[kept]
    backward[goes_on] = turned_back(grid, starts[kept][goes_on], first)
    points[centres] = starts[kept]
    return Trajectories(points, offsets, centres, kept, backward, forward[kept])


def _tables(rule: DipyRule, stride: np.ndarray) -> Tables:
    image, shape = rule.image.detach().contiguous().numpy(), np.array(rule.grid.shape, dtype=np.int64)
    if isinstance(rule, MaximumRule):
        vertices, basis = (
            np.ascontiguousarray(table.detach().T.numpy()) for table in (rule.vertices, rule.basis)
        )
        return Tables(MAXIMUM, image, shape, vertices, basis, rule.cosine, rule.threshold, stride)
    assert isinstance(rule, NeighbourRule)
    none = np.empty((3, 0)), np.empty((0, 0))
    return Tables(PEAKS, image, shape, *none, rule.cosine, rule.least_weight, stride)


def _stop(stopping: Stopping, grid: Grid) -> Stop:
    if isinstance(stopping, ThresholdStopping):
        check_shape(stopping.image, grid)
        return Stop(stopping.image.detach().reshape(-1).double().numpy(), stopping.threshold, False)
    assert isinstance(stopping, BinaryStopping)
    check_shape(stopping.mask, grid)
    return Stop((stopping.mask > 0).reshape(-1).double().numpy(), 0.0, True)

"""Masks, and regions to enter or to avoid, each on a grid of its own, laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ....errors import InputError
from .image import nearest_voxel, to_voxel
from .unrolled import kernel

MASK, EXCLUDE, INCLUDE = 0, 1, 2
_MOST_INCLUDED = 62
"""Visits are the bits of an integer."""


class Regions(NamedTuple):
    """R regions.

    Attributes
    ----------
    inside : (sum of voxels,) uint8 array
        Whether each voxel of each region, one region after the other, is inside.
    starts : (R,) int64 array
        Where each region begins in `inside`.
    shapes : (R, 3) int64 array
        Voxels along each axis.
    world_to_voxel : (R, 3, 4) float64 array
        mm to voxel indices.
    kinds : (R,) int64 array
        `MASK`, `EXCLUDE` or `INCLUDE`.
    """

    inside: np.ndarray
    starts: np.ndarray
    shapes: np.ndarray
    world_to_voxel: np.ndarray
    kinds: np.ndarray


def lay_regions(regions: Sequence[tuple[int, np.ndarray, np.ndarray]] = ()) -> Regions:
    """Return `Regions` of triples: kind, image (X, Y, Z) that is not zero inside, world to voxel (3, 4).

    Raises
    ------
    InputError
        When more than 62 regions are to be entered.
    """
    kinds = np.array([kind for kind, _, _ in regions], dtype=np.int64)
    n_included = int((kinds == INCLUDE).sum())
    if n_included > _MOST_INCLUDED:
        raise InputError(f"{n_included} regions to include; expected at most {_MOST_INCLUDED}")
    flat = [np.ravel(image != 0).astype(np.uint8) for _, image, _ in regions]
    return Regions(
        inside=np.concatenate([np.zeros(0, np.uint8), *flat]),
        starts=np.cumsum([0, *(len(voxels) for voxels in flat)])[:-1].astype(np.int64),
        shapes=np.array([image.shape for _, image, _ in regions], dtype=np.int64).reshape(-1, 3),
        world_to_voxel=np.array([matrix for _, _, matrix in regions], dtype=np.float64).reshape(-1, 3, 4),
        kinds=kinds,
    )


@kernel
def judge(regions: Regions, x: float, y: float, z: float, visited: int) -> tuple[bool, bool, int]:
    """Return whether the masks admit a point in mm, whether it is excluded, and the regions visited so far.

    A point is admitted by any of several masks.
    """
    has_mask, admitted, excluded, bit = False, False, False, 1
    for r in range(regions.kinds.shape[0]):
        i, j, k = to_voxel(regions.world_to_voxel[r], x, y, z)
        voxel = nearest_voxel(regions.shapes[r], i, j, k)
        inside = voxel >= 0 and regions.inside[regions.starts[r] + voxel] != 0
        if regions.kinds[r] == MASK:
            has_mask = True
            admitted = admitted or inside
        elif regions.kinds[r] == EXCLUDE:
            excluded = excluded or inside
        else:
            if inside:
                visited |= bit
            bit *= 2
    return admitted or not has_mask, excluded, visited

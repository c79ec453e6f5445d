"""`Parcellation`: the nodes of a connectome as a label image, its axes as MRtrix reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import nibabel.orientations as axes
import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..grid import Grid
from ..streamlines import Streamlines
from .searches import Image

MOST_NODES = 20_000
"""A matrix of more nodes would take over 3 GB; such labels are codes to be renumbered first."""


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Labels 1 … N of voxels, 0 outside all nodes; made by `from_image`.

    Parameters
    ----------
    labels : (X, Y, Z) array
        int32, contiguous. Axes are permuted and flipped to lie closest to right, anterior and superior,
        because the order in which voxels are visited decides between nodes that are equally near.
    grid : Grid
        Of `labels`.
    """

    labels: np.ndarray
    grid: Grid

    @classmethod
    def from_image(cls, labels: Tensor, affine: Tensor) -> Parcellation:
        """Check an image (X, Y, Z) and turn its axes.

        Raises
        ------
        InputError
            When the image is not 3-D, holds no label, one that is negative or no whole number, or one above
            `MOST_NODES`, or when the affine is no affine.
        """
        if labels.dim() != 3:
            raise InputError(
                f"labels have shape {tuple(labels.shape)}; expected (X, Y, Z), one label a voxel"
            )
        found = labels.detach().cpu().numpy()
        grid = Grid(tuple(found.shape), torch.as_tensor(affine).detach().cpu())
        # not(a and b), so that NaN is refused too
        wrong = ~((found >= 0) & (found == np.floor(found)))
        if wrong.any():
            voxel = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise InputError(
                f"labels hold {found[voxel]} at voxel {voxel}; expected whole numbers, 0 outside all nodes"
            )
        if not 0 < found.max() <= MOST_NODES:
            raise InputError(
                f"labels go up to {found.max():g}; expected nodes numbered from 1, {MOST_NODES} at most"
            )
        turn = axes.io_orientation(grid.affine.numpy())
        turned = np.ascontiguousarray(axes.apply_orientation(found, turn), dtype=np.int32)
        turned_affine = grid.affine.numpy() @ axes.inv_ornt_aff(turn, grid.shape)
        return cls(turned, Grid(turned.shape, torch.from_numpy(turned_affine)))

    @property
    def n_nodes(self) -> int:
        """N, the largest label."""
        return int(self.labels.max())

    @property
    def volumes(self) -> Tensor:
        """(N + 1,) number of voxels of each label, outside first. float64."""
        return torch.from_numpy(np.bincount(self.labels.ravel()).astype(np.float64))

    @cached_property
    def image(self) -> Image:
        """Labels and affines for `searches`.

        The affine is inverted by cofactors, as Eigen does: of points right between voxels rounding decides.
        """
        to_world = self.grid.affine[:3].numpy()
        a, b, c = to_world[:, :3].T
        adjugate = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
        linear = adjugate * (1 / sum(a * adjugate[0]))
        to_voxels = np.column_stack([linear, -(linear @ to_world[:, 3])])
        return Image(self.labels, to_voxels, np.ascontiguousarray(to_world))

    def require_tracks(self, tracks: Streamlines) -> None:
        """Refuse streamlines that cannot be those of this image.

        Raises
        ------
        InputError
            When there is none, one has no point, a coordinate is not finite, or all points lie outside.
        """
        if len(tracks) == 0:
            raise InputError("tracks hold no streamline; expected at least one")
        if bool((tracks.n_points == 0).any()):
            empty = int((tracks.n_points == 0).nonzero()[0, 0])
            raise InputError(f"streamline {empty} has no point; expected at least one to have ends")
        points = tracks.points.detach().cpu()
        if not bool(points.isfinite().all()):
            bad = int(tracks.owners.cpu()[~points.isfinite().all(1)][0])
            raise InputError(f"streamline {bad} has a coordinate that is not finite; expected mm")
        ends = tracks.ends.detach().cpu()
        # all points are looked at only where no end tells
        if not any(bool((self.grid.voxel_of(part) >= 0).any()) for part in (ends, points)):
            middle = [round(float(x), 1) for x in points.mean(0)]
            centre = (torch.tensor(self.grid.shape, dtype=torch.float64) - 1) / 2
            theirs = [round(float(x), 1) for x in self.grid.to_world(centre)]
            raise InputError(
                f"no streamline meets the label image: they lie around {middle} mm, it around {theirs}; "
                "expected both in one space"
            )

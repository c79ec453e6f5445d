"""How ends of streamlines find their nodes: the rules of `tck2connectome` 3.0.3, ties included.

Nodes are whole numbers, so none of this has a derivative; `soft.py` has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..streamlines import Streamlines
from . import searches
from .parcellation import Parcellation


class Assignment(Protocol):
    """Anything that names the two nodes of each streamline."""

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2) of the first and the last point, 0 where there is none. int64."""
        ...


@dataclass(frozen=True)
class EndVoxels:
    """The label of the voxel that holds the end."""

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2)."""
        nodes = searches.end_voxels(_ends(tracks), parcellation.image)
        return _pairs(nodes, tracks)


@dataclass(frozen=True)
class RadialSearch:
    """The label of the nearest labelled voxel centre that is less than `radius` away (Smith et al., 2015).

    Parameters
    ----------
    radius : float
        mm.
    """

    radius: float = 4.0

    def __post_init__(self) -> None:
        _require_distance("radius", self.radius)

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2)."""
        sizes = parcellation.grid.voxel_sizes.numpy()
        slack = math.sqrt(sum((0.5 * sizes[::-1]) ** 2))
        half = math.ceil((self.radius + slack) / sizes.min())
        # axis z slowest, and a stable sort: equal lengths keep that order
        offsets = np.indices([2 * half + 1] * 3).reshape(3, -1).T[:, ::-1] - half
        z, y, x = ((offsets * sizes) ** 2).T[::-1]
        lengths = np.sqrt(z + y + x)
        order = np.argsort(lengths, kind="stable")
        offsets = np.ascontiguousarray(offsets[order][lengths[order] < self.radius + slack])
        nodes = searches.radial(
            _ends(tracks),
            parcellation.image,
            offsets,
            float(self.radius),
            slack,
        )
        return _pairs(nodes, tracks)


@dataclass(frozen=True)
class ReverseSearch:
    """The label of the first voxel with one that holds a point, from the end back to the middle.

    Parameters
    ----------
    distance : float
        How far to go back along the streamline, mm.
    """

    distance: float = math.inf

    def __post_init__(self) -> None:
        _require_distance("distance", self.distance, finite=False)

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2)."""
        nodes = searches.reverse(
            tracks.points.detach().cpu().numpy(),
            tracks.offsets.cpu().numpy(),
            parcellation.image,
            float(self.distance),
        )
        return _pairs(nodes, tracks)


@dataclass(frozen=True)
class ForwardSearch:
    """The first label ahead of the end, in a region that grows from its voxel through a cone of 45°.

    The voxel of least cost d (1 + angle/45°) is tried next, d and angle those of its centre as seen from the
    end, where the tangent is extrapolated from the last three points.

    Parameters
    ----------
    distance : float
        The highest cost that is tried, mm: as far as the search goes straight ahead.
    """

    distance: float

    def __post_init__(self) -> None:
        _require_distance("distance", self.distance)

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2)."""
        voxels_per_mm = np.linalg.norm(parcellation.image.to_voxels[:, :3], axis=1)
        half = np.ceil(self.distance * voxels_per_mm).astype(int) + 2
        nodes = searches.forward(
            _ends(tracks),
            _tangents(tracks),
            parcellation.image,
            float(self.distance),
            half,
        )
        return _pairs(nodes, tracks)


@dataclass(frozen=True, eq=False)
class KnownNodes:
    """Nodes that were found before: several matrices from one assignment, or one made elsewhere.

    Parameters
    ----------
    nodes : (S, 2) Tensor
        Whole numbers, 0 for no node.
    """

    nodes: Tensor

    def assign(self, tracks: Streamlines, parcellation: Parcellation) -> Tensor:
        """Return nodes (S, 2).

        Raises
        ------
        InputError
            When there are not two for each streamline, each from 0 to N.
        """
        if self.nodes.shape != (len(tracks), 2):
            raise InputError(f"nodes have shape {tuple(self.nodes.shape)}; expected ({len(tracks)}, 2)")
        if not 0 <= int(self.nodes.min()) <= int(self.nodes.max()) <= parcellation.n_nodes:
            ends = f"{int(self.nodes.min())} to {int(self.nodes.max())}"
            raise InputError(f"nodes run from {ends}; expected 0 to {parcellation.n_nodes}, as the labels do")
        return self.nodes.long()


def _require_distance(name: str, value: float, *, finite: bool = True) -> None:
    if not value > 0 or (finite and math.isinf(value)):
        raise InputError(f"{name} is {value}; expected a positive number of mm")


def _ends(tracks: Streamlines) -> np.ndarray:
    """Return first and last points (2 S, 3), float64."""
    ends: np.ndarray = tracks.ends.detach().double().cpu().reshape(-1, 3).numpy()
    return ends


def _tangents(tracks: Streamlines) -> np.ndarray:
    """Return unit vectors (2 S, 3) out of both ends, the last step bent as from the one before; or NaN."""
    first, last, n = tracks.offsets[:-1], tracks.offsets[1:] - 1, tracks.n_points
    inwards = torch.arange(3, device=n.device).minimum(n[:, None] - 1)
    rows = torch.stack([first[:, None] + inwards, last[:, None] - inwards], 1)
    # steps in the precision of the points, as MRtrix takes them
    steps = -tracks.points.detach()[rows].diff(dim=2).double()
    last_step, step_before = steps[:, :, 0], steps[:, :, 1]
    ratio = last_step.norm(dim=2, keepdim=True) / step_before.norm(dim=2, keepdim=True)
    turned = 2 * last_step - step_before * ratio
    tangents = torch.where((n > 2)[:, None, None], turned, last_step)
    units: np.ndarray = (tangents / tangents.norm(dim=2, keepdim=True)).reshape(-1, 3).cpu().numpy()
    return units


def _pairs(nodes: np.ndarray, tracks: Streamlines) -> Tensor:
    return torch.from_numpy(nodes).reshape(-1, 2).to(tracks.points.device)

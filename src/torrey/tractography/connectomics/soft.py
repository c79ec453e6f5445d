"""A connectome that moves smoothly with the ends of streamlines; in its limit that of `RadialSearch`."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ..streamlines import Streamlines
from . import searches
from .matrix import finished
from .parcellation import Parcellation

NEGLIGIBLE = 1e-16
"""Nodes whose probability is below this share of that of being unassigned are left out."""


def soft_assignment(
    points: Tensor, labels: Tensor, affine: Tensor, *, width: float, radius: float = 4.0
) -> Tensor:
    """Return the probability (S, 2, N + 1) that each end belongs to no node and to each of the nodes 1 … N.

    p_k ∝ exp(−d_k²/(2 width²)), d_k the distance to the nearest voxel centre of node k, and d_0 = radius for
    none. As width → 0 all of it goes to the node that `RadialSearch(radius)` finds, shared where nodes are
    equally near. p is continuous in the points, with kinks where the nearest centre of a node changes.

    Parameters
    ----------
    points : (S, 2, 3) Tensor
        First and last points, mm: `tracks.ends`. p is differentiable in them, and of their precision.
    labels, affine
        As for `assign_nodes`.
    width : float
        Distance over which a choice is blurred, mm.
    radius : float
        Distance at which none is as likely as a node, mm.

    Raises
    ------
    InputError
        When shapes are wrong, labels are unfit, or a distance is not positive.
    """
    if points.dim() != 3 or points.shape[1:] != (2, 3):
        raise InputError(
            f"points have shape {tuple(points.shape)}; expected (S, 2, 3), first and last points"
        )
    return _probabilities(points, Parcellation.from_image(labels, affine), width=width, radius=radius)


def soft_connectome(
    tracks: Streamlines,
    labels: Tensor,
    affine: Tensor,
    *,
    width: float,
    radius: float = 4.0,
    weights: Tensor | None = None,
    per_node_volume: bool = False,
    symmetric: bool = True,
    keep_unassigned: bool = False,
    zero_diagonal: bool = False,
) -> Tensor:
    """Return the matrix (N, N) of expected edges when ends choose their nodes by `soft_assignment`.

    With M_ab = Σ_s w_s p_sa p_sb of first and last ends, an edge is M_ab + M_ba between two nodes and M_aa
    from a node to itself, so that the limit width → 0 is `connectome` with `RadialSearch(radius)` and
    statistic "sum". Differentiable in the end points and the weights.

    Parameters
    ----------
    tracks, labels, affine
        As for `assign_nodes`.
    width, radius
        As for `soft_assignment`.
    weights : (S,) Tensor, optional
        Of streamlines, 1 by default; `inverse_lengths(tracks)` where edges shall be so scaled.
    per_node_volume, symmetric, keep_unassigned, zero_diagonal
        As for `connectome`.

    Raises
    ------
    InputError
        As `assign_nodes` and `soft_assignment`; when weights are not (S,).
    """
    parcellation = Parcellation.from_image(labels, affine)
    parcellation.require_tracks(tracks)
    first, last = _probabilities(tracks.ends, parcellation, width=width, radius=radius).unbind(1)
    if weights is not None:
        if weights.shape != (len(tracks),):
            raise InputError(f"weights have shape {tuple(weights.shape)}; expected ({len(tracks)},)")
        first = first * weights[:, None]
    directed = first.T @ last
    return finished(
        directed + directed.T - directed.diagonal().diag(),
        parcellation,
        per_node_volume=per_node_volume,
        symmetric=symmetric,
        keep_unassigned=keep_unassigned,
        zero_diagonal=zero_diagonal,
    )


def _probabilities(points: Tensor, parcellation: Parcellation, *, width: float, radius: float) -> Tensor:
    for name, value in (("width", width), ("radius", radius)):
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; expected a positive number of mm")
    ends = points.reshape(-1, 3)
    reach = math.sqrt(radius**2 - 2 * width**2 * math.log(NEGLIGIBLE))
    nearest = searches.nearest_of_each_label(
        ends.detach().double().cpu().numpy(),
        parcellation.image,
        _offsets_within(parcellation, reach),
        reach,
        parcellation.n_nodes,
    )
    end, node = (torch.from_numpy(index).to(ends.device) for index in np.nonzero(nearest >= 0))
    voxels = np.stack(np.unravel_index(nearest[nearest >= 0], parcellation.labels.shape), -1)
    centres = parcellation.grid.to_world(torch.from_numpy(voxels).double()).to(ends)
    squares = (ends[end] - centres).square().sum(1)
    logits = ends.new_full((len(ends), parcellation.n_nodes + 1), -torch.inf)
    logits[:, 0] = 0.0
    logits = logits.index_put((end, node), (radius**2 - squares) / (2 * width**2))
    return logits.softmax(1).reshape(*points.shape[:2], -1)


def _offsets_within(parcellation: Parcellation, reach: float) -> np.ndarray:
    """Return offsets (O, 3) from the voxel of a point to all whose centre may be within `reach` mm of it."""
    linear = parcellation.image.to_world[:, :3]
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    farthest = reach + np.linalg.norm(corners @ linear.T, axis=1).max()
    half = np.ceil(farthest * np.linalg.norm(parcellation.image.to_voxels[:, :3], axis=1)).astype(int)
    offsets = np.indices(2 * half + 1).reshape(3, -1).T - half
    return np.ascontiguousarray(offsets[np.linalg.norm(offsets @ linear.T, axis=1) <= farthest])

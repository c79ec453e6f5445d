"""`connectome`: the matrix of edges that streamlines make between the nodes of a parcellation."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import InputError
from ..streamlines import Streamlines
from .assignment import Assignment, RadialSearch
from .parcellation import Parcellation

Statistic = Literal["sum", "mean", "min", "max"]


def assign_nodes(
    tracks: Streamlines, labels: Tensor, affine: Tensor, *, assignment: Assignment | None = None
) -> Tensor:
    """Return the nodes (S, 2) of the first and last point of each streamline, 0 where there is none.

    Parameters
    ----------
    tracks : Streamlines
        mm.
    labels : (X, Y, Z) Tensor
        Whole numbers, 0 outside all nodes.
    affine : (4, 4) Tensor
        Voxel indices → mm.
    assignment : Assignment
        `RadialSearch(4.0)` by default.

    Raises
    ------
    InputError
        When labels are negative, fractional or none, a streamline has no point, or all lie outside the image.
    """
    parcellation = Parcellation.from_image(labels, affine)
    parcellation.require_tracks(tracks)
    return (assignment or RadialSearch()).assign(tracks, parcellation)


def connectome(
    tracks: Streamlines,
    labels: Tensor,
    affine: Tensor,
    *,
    assignment: Assignment | None = None,
    values: Tensor | None = None,
    weights: Tensor | None = None,
    statistic: Statistic = "sum",
    per_node_volume: bool = False,
    symmetric: bool = True,
    keep_unassigned: bool = False,
    zero_diagonal: bool = False,
) -> Tensor:
    """Return the matrix (N, N) of edges between nodes 1 … N, as `tck2connectome` 3.0.3 does.

    An edge has the sum Σ w v of weights and values over its streamlines, their mean Σ w v/Σ w, or the least
    or largest v. It is differentiable in values and weights, and so through `values=tracks.lengths` in the
    points; the choice of edges is not: see `soft_connectome`.

    Parameters
    ----------
    tracks, labels, affine, assignment
        As for `assign_nodes`.
    values : (S,) Tensor, optional
        What each streamline contributes, 1 by default: `tracks.lengths`, `inverse_lengths(tracks)`, its FA.
    weights : (S,) Tensor, optional
        How much each streamline counts, 1 by default.
    statistic : str
        "sum", "mean", "min" or "max". An edge without streamlines has 0, and NaN where asked for min or max.
    per_node_volume : bool
        Divide each edge by the mean number of voxels of its two nodes (Hagmann et al., 2008).
    symmetric : bool
        Both halves of the matrix, instead of the upper one with zeros below the diagonal.
    keep_unassigned : bool
        Return (N + 1, N + 1), with the ends that found no node in the first row and column.
    zero_diagonal : bool
        Set edges from a node to itself to zero.

    Raises
    ------
    InputError
        As `assign_nodes`; when values or weights are not (S,), or the statistic is unknown.
    """
    parcellation = Parcellation.from_image(labels, affine)
    parcellation.require_tracks(tracks)
    ones = tracks.points.new_ones(len(tracks))
    values, weights = _per_streamline("values", values, ones), _per_streamline("weights", weights, ones)
    nodes = (assignment or RadialSearch()).assign(tracks, parcellation)
    low, high = nodes.sort(dim=1).values.unbind(1)
    n = parcellation.n_nodes + 1
    upper = _combined(low * n + high, values, weights, statistic, n * n).reshape(n, n)
    return finished(
        torch.where(upper.new_ones(n, n).tril(-1) > 0, upper.T, upper),
        parcellation,
        per_node_volume=per_node_volume,
        symmetric=symmetric,
        keep_unassigned=keep_unassigned,
        zero_diagonal=zero_diagonal,
    )


def inverse_lengths(tracks: Streamlines) -> Tensor:
    """Return 1/length (S,), 1/mm: as in MRtrix 0 of a single point, and infinite where several coincide."""
    lines = tracks.n_points > 1
    return torch.where(lines, 1 / torch.where(lines, tracks.lengths, 1.0), 0.0)


def finished(
    edges: Tensor,
    parcellation: Parcellation,
    *,
    per_node_volume: bool,
    symmetric: bool,
    keep_unassigned: bool,
    zero_diagonal: bool,
) -> Tensor:
    """Return the matrix to hand out from symmetric `edges` (N + 1, N + 1), the unassigned first."""
    if per_node_volume:
        volumes = parcellation.volumes.to(edges)
        both = volumes[:, None] + volumes
        edges = edges * torch.where(both > 0, 2 / both, 0.0)
    if zero_diagonal:
        edges = torch.where(torch.eye(len(edges), dtype=torch.bool, device=edges.device), 0.0, edges)
    if not symmetric:
        edges = edges.triu()
    return edges if keep_unassigned else edges[1:, 1:]


def _per_streamline(name: str, given: Tensor | None, ones: Tensor) -> Tensor:
    if given is None:
        return ones
    if given.shape != ones.shape:
        raise InputError(f"{name} have shape {tuple(given.shape)}; expected ({len(ones)},), one a streamline")
    return given


def _combined(edge: Tensor, values: Tensor, weights: Tensor, statistic: str, n_edges: int) -> Tensor:
    """Return one number (n_edges,) of the streamlines of each edge."""
    if statistic not in get_args(Statistic):
        raise InputError(f"statistic is {statistic!r}; expected one of {' '.join(get_args(Statistic))}")
    if statistic in ("min", "max"):
        empty = values.new_full((n_edges,), torch.inf if statistic == "min" else -torch.inf)
        extremes = empty.scatter_reduce(0, edge, values, "amin" if statistic == "min" else "amax")
        return torch.where(extremes.isinf(), torch.nan, extremes)
    weighted = values * weights
    sums = weighted.new_zeros(n_edges).index_add(0, edge, weighted)
    if statistic == "sum":
        return sums
    counts = weights.new_zeros(n_edges).index_add(0, edge, weights)
    return torch.where(counts == 0, sums, sums / torch.where(counts == 0, 1.0, counts))

"""A grid of tets around a union of round cones, finer where these are thinner."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...errors import InputError
from .bisect import Bisection, bisect, kuhn_cube
from .round_cones import RoundCones

MOST_TETS = 20_000_000
"""A grid with more is refused before memory runs out."""


@dataclass(frozen=True, eq=False)
class ConeGrid:
    """Tets that cover a union of round cones, and the cones that each may meet.

    Attributes
    ----------
    mesh : Bisection
        T tets.
    first : (T + 1,) int array
        Tet t may meet the cones `cone[first[t]:first[t + 1]]`, at least one.
    cone : (P,) int array
    cones : RoundCones
    """

    mesh: Bisection
    first: np.ndarray
    cone: np.ndarray
    cones: RoundCones

    def depth(self, points: np.ndarray, tets: np.ndarray) -> np.ndarray:
        """Return the distance to the surface of `points` (P, 3), each in one of `tets` (P,).

        Negative inside, and right in sign; where the surface is farther than the size of the tet, the
        distance may be too large.
        """
        point, cone = self.pairs(tets)
        distance = self.cones.distance(points[point], cone)[0]
        return np.minimum.reduceat(distance, _starts(point, len(points))[:-1])

    def pairs(self, tets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one row for each of `tets` (Q,) and cone it may meet: which of `tets`, and the cone."""
        counts = self.first[tets + 1] - self.first[tets]
        row = np.repeat(np.arange(len(tets)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, self.cone[self.first[tets][row] + within]


def cone_grid(cones: RoundCones, *, edge_length: float, edge_over_radius: float) -> ConeGrid:
    """Return a grid with cells of `edge_length` µm at most, and `edge_over_radius` times the radius at most.

    At the surface the radius is that of the thinnest cone that meets a tet, inside that of the thickest which
    holds it.

    Raises
    ------
    InputError
        When it takes more than `MOST_TETS` tets.
    """
    lower = np.minimum(cones.start - cones.r0[:, None], cones.end - cones.r1[:, None]).min(0)
    upper = np.maximum(cones.start + cones.r0[:, None], cones.end + cones.r1[:, None]).max(0)
    side = 1.05 * (upper - lower).max()
    mesh, n = kuhn_cube((lower + upper - side) / 2, side), len(cones.r0)
    grid = ConeGrid(mesh, n * np.arange(len(mesh.tets) + 1), np.tile(np.arange(n), len(mesh.tets)), cones)
    while True:
        grid, radius = _culled(grid)
        large = _sizes(grid.mesh) > np.minimum(edge_over_radius * radius, edge_length)
        if not large.any():
            return grid
        finer = bisect(grid.mesh, large)
        if len(finer.tets) > MOST_TETS:
            raise InputError(
                f"neuron_mesh: more than {MOST_TETS} tets at edge_length {edge_length:g} µm and "
                f"edge_over_radius {edge_over_radius:g}; expected longer edges"
            )
        owner, cone = grid.pairs(finer.parents)
        grid = replace(grid, mesh=finer, first=_starts(owner, len(finer.tets)), cone=cone)


def _culled(grid: ConeGrid) -> tuple[ConeGrid, np.ndarray]:
    """Drop cones that miss their tet and tets that meet none; return the radius that counts in each."""
    corners = grid.mesh.vertices[grid.mesh.tets]
    middle = corners.mean(1)
    reach = np.linalg.norm(corners - middle[:, None], axis=2).max(1)
    owner, cone = grid.pairs(np.arange(len(middle)))
    distance, radius = grid.cones.distance(middle[owner], cone)
    meets = distance <= reach[owner]
    owner, cone, distance, radius = owner[meets], cone[meets], distance[meets], radius[meets]
    kept = np.unique(owner)
    first = _starts(np.searchsorted(kept, owner), len(kept))
    holding = np.where(distance < -reach[owner], radius, 0)
    thickest = np.maximum.reduceat(holding, first[:-1])
    radius = np.where(thickest > 0, thickest, np.minimum.reduceat(radius, first[:-1]))
    return replace(grid, mesh=grid.mesh.of(kept), first=first, cone=cone), radius


def _starts(owner: np.ndarray, n: int) -> np.ndarray:
    """Return where the rows of each of n owners start in `owner`, sorted, and its length."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))])


def _sizes(mesh: Bisection) -> np.ndarray:
    """Return the edge of the cube that six tets of the volume of each would fill."""
    a, b, c = (mesh.vertices[mesh.tets[:, i]] - mesh.vertices[mesh.tets[:, 0]] for i in (1, 2, 3))
    sizes: np.ndarray = np.cbrt(np.abs((a * np.cross(b, c)).sum(1)))
    return sizes

"""`RepairReport`: what was changed in a surface."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RepairReport:
    """What `repair` changed.

    Attributes
    ----------
    merged_vertices, degenerate_triangles, duplicate_triangles, turned_triangles : int
        Copies of vertices, triangles without area and copies of triangles that were dropped, and triangles
        that were turned around.
    dropped_areas : tuple of float
        Area of each fragment that was left out, µm², the largest first.
    hole_lengths : tuple of float
        Length of the rim of each hole that was filled, µm, the longest first.
    triangles_before, triangles_after : int
    volume_before : float or None
        µm³; None where the surface was not closed, and so had none.
    volume_after : float
        µm³.
    area_before, area_after : float
        µm².
    farthest, mean_distance : float
        Between the surface after and what was kept of it before, µm: of the vertices and the middles of the
        triangles of either from the other.
    """

    merged_vertices: int
    degenerate_triangles: int
    duplicate_triangles: int
    turned_triangles: int
    dropped_areas: tuple[float, ...]
    hole_lengths: tuple[float, ...]
    triangles_before: int
    triangles_after: int
    volume_before: float | None
    volume_after: float
    area_before: float
    area_after: float
    farthest: float
    mean_distance: float

    def __str__(self) -> str:
        before = "not closed" if self.volume_before is None else f"{self.volume_before:.4g} µm³"
        return "\n".join(
            [
                f"vertices merged          {self.merged_vertices}",
                f"triangles dropped        {self.degenerate_triangles} degenerate, "
                f"{self.duplicate_triangles} duplicate",
                f"triangles turned around  {self.turned_triangles}",
                f"fragments dropped        {_listed(self.dropped_areas, 'µm²')}",
                f"holes filled             {_listed(self.hole_lengths, 'µm around')}",
                f"triangles                {self.triangles_before} → {self.triangles_after}",
                f"volume                   {before} → {self.volume_after:.4g} µm³",
                f"area                     {self.area_before:.4g} → {self.area_after:.4g} µm²",
                f"distance                 {self.farthest:.3g} µm at most, {self.mean_distance:.3g} µm mean",
            ]
        )


def _listed(values: tuple[float, ...], unit: str) -> str:
    if not values:
        return "none"
    shown = ", ".join(f"{value:.3g}" for value in values[:5])
    return f"{len(values)} ({shown}{', …' if len(values) > 5 else ''} {unit})"

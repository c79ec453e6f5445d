"""`Surface`: a triangle surface as an immutable value, and the boundary of a set of tetrahedra."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .faces import same_rows, tet_faces


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles `triangles` (F, 3), outward oriented, over `vertices` (V, 3) in µm."""

    vertices: Tensor
    triangles: Tensor

    @classmethod
    def from_indexed(cls, vertices: Tensor, triangles: Tensor) -> Surface:
        """Return the surface of `triangles` with the unused ones of `vertices` left out."""
        used, compact = torch.unique(triangles, return_inverse=True)
        return cls(vertices[used], compact)

    @property
    def area(self) -> Tensor:
        """Total area, µm²."""
        return self.areas.sum()

    @property
    def areas(self) -> Tensor:
        """Area of each triangle (F,), µm²."""
        a, b, c = self.vertices[self.triangles].unbind(-2)
        areas: Tensor = torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2
        return areas

    @property
    def enclosed_volume(self) -> Tensor:
        """Volume inside, µm³, by the divergence theorem; meaningful for a closed surface only."""
        a, b, c = self.vertices[self.triangles].unbind(-2)
        volume: Tensor = (a * torch.linalg.cross(b, c)).sum() / 6
        return volume

    def sample(self, n_points: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Return `n_points` area-uniform random points (n, 3), µm; reproducible with a seeded `generator`."""
        areas = self.areas.detach()
        # stratified in cumulated area: far more even than independent draws, at the same cost
        steps = torch.arange(n_points, dtype=areas.dtype, device=areas.device)
        jitter = torch.rand(n_points, 3, generator=generator, dtype=areas.dtype, device=areas.device)
        level = (steps + jitter[:, 0]) / n_points * areas.sum()
        face = torch.searchsorted(areas.cumsum(0), level).clamp(max=len(areas) - 1)
        root, v = jitter[:, 1].sqrt(), jitter[:, 2]
        weights = torch.stack([1 - root, root * (1 - v), root * v], dim=1)
        return (weights[:, :, None] * self.vertices[self.triangles[face]]).sum(1)


def boundary_triangles(tets: Tensor) -> Tensor:
    """Return the faces (F, 3) that belong to exactly one of `tets` (T, 4), oriented outwards."""
    return boundary_faces(tets)[0]


def boundary_faces(tets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the boundary triangles (F, 3) of `tets` (T, 4), oriented outwards, and the tet (F,) of each."""
    faces = tet_faces(tets)
    number, counts = same_rows(faces)
    outer = (counts[number] == 1).nonzero().ravel()
    return faces[outer], outer // 4

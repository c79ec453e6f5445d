"""`TetMesh`: a tetrahedral mesh as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ..errors import MeshError
from .orientation import consistent_orientation
from .surface import Surface, boundary_triangles
from .volumes import tet_volumes

if TYPE_CHECKING:
    from .validate import MeshReport


@dataclass(frozen=True, eq=False)
class TetMesh:
    """A tetrahedral mesh; lengths in µm.

    Parameters
    ----------
    vertices : (V, 3) float Tensor or array_like
        Positions, µm. Gradients flow through them.
    tets : (T, 4) integer Tensor or array_like
        0-based vertex indices. Reordered so that neighbours are oriented alike and the total volume is
        positive; a tet that is still negative after that is inverted, which `validate` reports.
    compartments : (T,) integer Tensor or array_like, optional
        Compartment of each tet; all zero where not given.

    Raises
    ------
    MeshError
        When a shape is wrong, a number is not finite, or a tet names a vertex that does not exist.
    """

    vertices: Tensor
    tets: Tensor
    compartments: Tensor = field(default=cast(Tensor, None))

    def __post_init__(self) -> None:
        vertices = torch.as_tensor(self.vertices)
        if not vertices.is_floating_point():
            vertices = vertices.double()
        tets = torch.as_tensor(self.tets, device=vertices.device)
        _check_arrays(vertices, tets)
        tets = consistent_orientation(vertices.detach(), tets.long())
        given = cast("Tensor | None", self.compartments)
        compartments = torch.zeros(len(tets), dtype=torch.long) if given is None else given
        compartments = torch.as_tensor(compartments, device=vertices.device).long()
        if compartments.shape != (len(tets),):
            raise MeshError(f"compartments: expected shape ({len(tets)},), got {tuple(compartments.shape)}")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "tets", tets)
        object.__setattr__(self, "compartments", compartments)

    @property
    def n_vertices(self) -> int:
        """Number of vertices V."""
        return len(self.vertices)

    @property
    def n_tets(self) -> int:
        """Number of tetrahedra T."""
        return len(self.tets)

    @property
    def n_compartments(self) -> int:
        """One more than the highest compartment label."""
        return int(self.compartments.max()) + 1

    @property
    def volumes(self) -> Tensor:
        """Signed volume of each tet (T,), µm³; negative where it is inverted."""
        return tet_volumes(self.vertices, self.tets)

    @property
    def volume(self) -> Tensor:
        """Total volume, µm³."""
        return self.volumes.sum()

    @property
    def quality(self) -> Tensor:
        """Normalised radius ratio of each tet (T,): 1 regular, 0 flat, negative where inverted."""
        from .quality import tet_quality

        return tet_quality(self.vertices, self.tets)

    @cached_property
    def boundary(self) -> Tensor:
        """Outward-oriented triangles (F, 3) of the outer boundary, as indices into `vertices`."""
        return boundary_triangles(self.tets)

    @property
    def surface(self) -> Surface:
        """The outer boundary with its own compact vertex list."""
        return Surface.from_indexed(self.vertices, self.boundary)

    @property
    def surface_area(self) -> Tensor:
        """Area of the outer boundary, µm²."""
        return self.surface.area

    def with_vertices(self, vertices: Tensor) -> TetMesh:
        """Return the same connectivity on other `vertices` (V, 3), µm, without reorienting a tet."""
        if vertices.shape != self.vertices.shape:
            raise MeshError(
                f"vertices: expected shape {tuple(self.vertices.shape)}, got {tuple(vertices.shape)}"
            )
        moved = object.__new__(TetMesh)
        object.__setattr__(moved, "vertices", vertices)
        object.__setattr__(moved, "tets", self.tets)
        object.__setattr__(moved, "compartments", self.compartments)
        if "boundary" in self.__dict__:
            moved.__dict__["boundary"] = self.boundary
        return moved

    def validate(self) -> MeshReport:
        """Report inverted and degenerate tets, non-manifold faces and edges, loose parts, unused vertices."""
        from .validate import validate

        return validate(self)

    def to(self, *args: object, **kwargs: object) -> TetMesh:
        """Return the mesh on another device or with another float dtype; arguments as for `Tensor.to`."""
        vertices = self.vertices.to(*args, **kwargs)  # type: ignore[call-overload]
        return replace(
            self,
            vertices=vertices,
            tets=self.tets.to(vertices.device),
            compartments=self.compartments.to(vertices.device),
        )


def _check_arrays(vertices: Tensor, tets: Tensor) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise MeshError(f"vertices: expected shape (V, 3), got {tuple(vertices.shape)}")
    if tets.ndim != 2 or tets.shape[1] != 4 or len(tets) == 0:
        raise MeshError(f"tets: expected shape (T, 4) with T ≥ 1, got {tuple(tets.shape)}")
    if tets.is_floating_point():
        raise MeshError(f"tets: expected integers, got {tets.dtype}")
    bad = ~torch.isfinite(vertices.detach()).all(1)
    if bad.any():
        index = int(bad.nonzero()[0])
        raise MeshError(
            f"vertices: vertex {index} is {vertices[index].tolist()}, expected finite numbers (µm)"
        )
    outside = (tets < 0) | (tets >= len(vertices))
    if outside.any():
        tet, corner = (int(i) for i in outside.nonzero()[0])
        raise MeshError(
            f"tets: tet {tet} names vertex {int(tets[tet, corner])}, expected 0 … {len(vertices) - 1}"
        )

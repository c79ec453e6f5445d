"""How well-shaped the tets of a mesh are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .tetmesh import TetMesh

_EDGE_CORNERS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))


@dataclass(frozen=True)
class QualitySummary:
    """Shape of the tets and lengths of the edges of a mesh.

    Attributes
    ----------
    minimum, mean : float
        Of the normalised radius ratio (1 for a regular tet, 0 for a flat one, negative for an inverted one).
    worst_tet : int
        Index of the tet with the smallest ratio.
    aspect : float
        Largest ratio of the longest to the shortest edge within one tet.
    shortest_edge, mean_edge, longest_edge : float
        µm.
    """

    minimum: float
    mean: float
    worst_tet: int
    aspect: float
    shortest_edge: float
    mean_edge: float
    longest_edge: float


def tet_quality(vertices: Tensor, tets: Tensor) -> Tensor:
    """Return the normalised radius ratio 3 r_in / R_circ (T,) of `tets` (T, 4), with the sign of the volume.

    With edge vectors a, b, c from one corner, 6V = a·(b × c), r_in = 3|V| / A for the total face area A, and
    R_circ = ‖|a|² b×c + |b|² c×a + |c|² a×b‖ / (12|V|), so the ratio is 108 V|V| / (A ‖…‖). It is 1 for a
    regular tet and 0 for a flat one.
    """
    p, q, r, s = vertices[tets].unbind(-2)
    a, b, c = q - p, r - p, s - p
    bc, ca, ab = torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)
    volume = (a * bc).sum(-1) / 6
    opposite = torch.linalg.cross(b - a, c - a)
    area = (bc.norm(dim=-1) + ca.norm(dim=-1) + ab.norm(dim=-1) + opposite.norm(dim=-1)) / 2
    squares = [(edge * edge).sum(-1, keepdim=True) for edge in (a, b, c)]
    circum = (squares[0] * bc + squares[1] * ca + squares[2] * ab).norm(dim=-1)
    # a flat tet may have a zero denominator, and its quality is zero
    positive = area * circum > 0
    return torch.where(positive, 108 * volume * volume.abs() / torch.where(positive, area * circum, 1.0), 0.0)


def edges(tets: Tensor) -> Tensor:
    """Return every edge of `tets` (T, 4) once, as rows (E, 2) of rising vertex index."""
    pairs = torch.cat([tets[:, list(pair)] for pair in _EDGE_CORNERS])
    unique: Tensor = torch.unique(pairs.sort(1).values, dim=0)
    return unique


def edge_lengths(mesh: TetMesh) -> Tensor:
    """Return the length (E,) of every edge of `mesh` once, µm."""
    start, end = mesh.vertices[edges(mesh.tets)].unbind(1)
    lengths: Tensor = (end - start).norm(dim=1)
    return lengths


def summarise_quality(mesh: TetMesh) -> QualitySummary:
    """Return the quality and edge lengths of `mesh` as a few numbers."""
    vertices = mesh.vertices.detach()
    quality = tet_quality(vertices, mesh.tets)
    corners = vertices[mesh.tets]
    lengths = torch.stack([(corners[:, i] - corners[:, j]).norm(dim=1) for i, j in _EDGE_CORNERS])
    every = edge_lengths(mesh).detach()
    return QualitySummary(
        minimum=float(quality.min()),
        mean=float(quality.mean()),
        worst_tet=int(quality.argmin()),
        aspect=float((lengths.amax(0) / lengths.amin(0)).max()),
        shortest_edge=float(every.min()),
        mean_edge=float(every.mean()),
        longest_edge=float(every.max()),
    )

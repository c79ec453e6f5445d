"""What the 3-D view needs, packed as base64 for a page without a network."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..inverse.result import Posterior, Reconstruction

SHOWN = 4
"""Directions embedded at each end of the posterior: the file stays small, the middle ones look alike."""


@dataclass(frozen=True, eq=False)
class PrincipalFrame:
    """Centre of mass (3,), µm, and principal `axes` (3, 3), rows, longest first, right-handed."""

    centre: np.ndarray
    axes: np.ndarray


def principal_frame(vertices: np.ndarray, triangles: np.ndarray) -> PrincipalFrame:
    """Return centre and axes of the surface, weighted by area: `vertices` (V, 3) µm, `triangles` (F, 3)."""
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    weight = area / area.sum()
    centre = weight @ corners.mean(1)
    local = corners - centre
    total = local.sum(1)
    # ∫ x xᵀ over a triangle is exact: area/12 (Σ xᵢxᵢᵀ + Σxᵢ Σxᵢᵀ)
    moments = np.einsum("f,fci,fcj->ij", weight, local, local) + (weight[:, None] * total).T @ total
    _, columns = np.linalg.eigh(moments / 12)
    axes = columns.T[::-1].copy()
    # an axis has no sign: choose the one whose largest entry is positive, so that pages of one run agree
    axes *= np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])[:, None]
    axes[2] = np.cross(axes[0], axes[1])
    return PrincipalFrame(centre, axes)


def boundary(reconstruction: Reconstruction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the surface `(vertices (S, 3) µm, triangles (F, 3), used (S,))`; `used` indexes the mesh."""
    faces = reconstruction.mesh.boundary.cpu().numpy()
    used, compact = np.unique(faces, return_inverse=True)
    vertices = reconstruction.mesh.vertices.detach().cpu().numpy()[used].astype(float)
    return vertices, compact.reshape(faces.shape), used


def shown_directions(n_directions: int) -> list[int]:
    """Return the indices of the best and worst determined directions to show, best first."""
    if n_directions <= 2 * SHOWN:
        return list(range(n_directions))
    return [*range(SHOWN), *range(n_directions - SHOWN, n_directions)]


def surface_data(reconstruction: Reconstruction) -> dict[str, Any]:
    """Return vertices, triangles, position uncertainty and chosen deformations, JSON-serialisable.

    Arrays are little-endian base64: float32, triangles uint32. Positions are µm about the centre;
    `deviation` is the standard deviation (µm) of each vertex along its normal; each direction holds its
    displacements (S, 3), µm per µm rms, and its standard deviation `sigma` in µm (null where it has none).
    """
    vertices, triangles, used = boundary(reconstruction)
    frame = principal_frame(vertices, triangles)
    posterior = reconstruction.posterior
    n_directions = len(posterior.standard_deviations)
    displacements = posterior.displacements.detach().cpu().numpy()[:, used].astype(float)
    sigmas = posterior.standard_deviations.detach().cpu().numpy().astype(float)
    return {
        "vertices": _float32(vertices - frame.centre),
        "triangles": pack(triangles.astype("<u4")),
        "axes": [[round(float(v), 6) for v in row] for row in frame.axes],
        "deviation": _float32(normal_deviation(vertices, triangles, posterior, displacements)),
        "directions": [
            {
                "number": k + 1,
                "of": n_directions,
                "sigma": float(sigmas[k]) if np.isfinite(sigmas[k]) else None,
                "displacement": _float32(displacements[k]),
            }
            for k in shown_directions(n_directions)
        ],
    }


def normal_deviation(
    vertices: np.ndarray, triangles: np.ndarray, posterior: Posterior, displacements: np.ndarray
) -> np.ndarray:
    """Return sqrt(Σₖ σₖ² (uₖ·n)²) (S,), µm, over all directions; finite even where one is open."""
    sigmas = posterior.standard_deviations.detach().cpu().numpy().astype(float)
    sigmas = np.minimum(np.nan_to_num(sigmas, nan=1e6, posinf=1e6), 1e6)
    along = np.einsum("ksi,si->ks", displacements, vertex_normals(vertices, triangles))
    return np.asarray(np.sqrt((sigmas[:, None] ** 2 * along**2).sum(0)))


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return unit normals (S, 3), the area-weighted mean of the triangles around each vertex."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, triangles[:, i], face)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def _float32(array: np.ndarray) -> str:
    return pack(array.astype("<f4"))


def pack(array: np.ndarray) -> str:
    """Return the bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")

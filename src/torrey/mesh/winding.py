"""Which points lie inside a closed surface.

The solid angle under which a triangle is seen: van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30, 125
(1983).
"""

from __future__ import annotations

import numpy as np

from .surface import Surface

_CHUNK = 1_000_000
"""Pairs of a point and a triangle at once."""


def inside(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Return which of `points` (n, 3) lie inside: there the triangles fill the full solid angle 4π."""
    corners = surface.vertices.detach().cpu().double().numpy()[surface.triangles.cpu().numpy()]
    lower, upper = corners.min((0, 1)), corners.max((0, 1))
    near = np.flatnonzero(((points > lower) & (points < upper)).all(1))
    within = np.zeros(len(points), dtype=bool)
    for part in np.array_split(near, 1 + len(near) * len(corners) // _CHUNK):
        within[part] = _solid_angle(corners, points[part]) > 2 * np.pi
    return within


def _solid_angle(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    a, b, c = np.moveaxis(corners[None] - points[:, None, None], 2, 0)
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    volume = (a * np.cross(b, c)).sum(-1)
    cosines = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    angle: np.ndarray = 2 * np.arctan2(volume, cosines).sum(1)
    return angle

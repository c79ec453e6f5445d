"""Which points lie inside a closed surface.

The solid angle under which a triangle is seen: van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30, 125
(1983).
"""

from __future__ import annotations

import numpy as np

from ..surface import Surface

_CHUNK = 1_000_000
"""Pairs of a point and a triangle at once."""


def inside(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Return which of `points` (n, 3) lie inside: there the triangles fill the full solid angle 4π."""
    corners = surface.vertices.detach().cpu().double().numpy()[surface.triangles.cpu().numpy()]
    lower, upper = corners.min((0, 1)), corners.max((0, 1))
    near = np.flatnonzero(((points > lower) & (points < upper)).all(1))
    within = np.zeros(len(points), dtype=bool)
    middle = (lower + upper) / 2
    for part in np.array_split(near, 1 + len(near) * len(corners) // _CHUNK):
        within[part] = _solid_angle(corners - middle, points[part] - middle) > 2 * np.pi
    return within


def _solid_angle(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the sum (n,) of 2 atan2(a·(b × c), |a||b||c| + (a·b)|c| + (b·c)|a| + (c·a)|b|) over triangles.

    The corners a, b, c seen from p are x − p, y − p, z − p, so all products are polynomials in p with
    coefficients that depend on the triangle only.
    """
    x, y, z = np.moveaxis(corners, 1, 0)
    square = (points * points).sum(1)[:, None]

    def product(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        result: np.ndarray = (u * v).sum(1) - points @ (u + v).T + square
        return result

    a, b, c = (np.sqrt(np.maximum(product(u, u), 0)) for u in (x, y, z))
    cosines = a * b * c + product(x, y) * c + product(y, z) * a + product(z, x) * b
    normal = np.cross(x, y) + np.cross(y, z) + np.cross(z, x)
    volume = (x * np.cross(y, z)).sum(1) - points @ normal.T
    angle: np.ndarray = 2 * np.arctan2(volume, cosines).sum(1)
    return angle

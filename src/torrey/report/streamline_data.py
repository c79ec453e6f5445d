"""What the 3-D view of streamlines needs, thinned to a bounded size and packed as base64."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tractography import Streamlines
from .surface_data import pack

MOST_STREAMLINES = 2000
MOST_POINTS = 64
"""Of one streamline: a page stays below 3 MB, and a bundle of them looks the same."""


def streamline_data(streamlines: Streamlines) -> dict[str, Any]:
    """Return some of the streamlines with some of their points, JSON-serialisable.

    `n_shown` is their number; `points` are mm about the middle of all, float32, base64; `counts` how many
    each has, uint32. Evenly
    spaced streamlines of two points or more are taken, of each the ends and evenly spaced points between.
    """
    counts = streamlines.n_points.cpu().numpy()
    drawable = np.flatnonzero(counts > 1)
    shown = drawable[_evenly(len(drawable), MOST_STREAMLINES)]
    starts = streamlines.offsets.cpu().numpy()[shown]
    rows = [start + _evenly(count, MOST_POINTS) for start, count in zip(starts, counts[shown], strict=True)]
    points = streamlines.points.detach().cpu().double().numpy()[np.concatenate([np.zeros(0, int), *rows])]
    centre = (points.min(0) + points.max(0)) / 2 if len(points) else np.zeros(3)
    return {
        "n_shown": len(shown),
        "points": pack((points - centre).astype("<f4")),
        "counts": pack(np.array([len(row) for row in rows], dtype="<u4")),
    }


def _evenly(n: int, most: int) -> np.ndarray:
    """Return up to `most` of n indices, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))

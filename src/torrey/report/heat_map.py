"""A matrix as a picture: a square for each entry, dark where it is large."""

from __future__ import annotations

import numpy as np

from .axes import svg
from .numerals import short

SIZE, LEFT, TOP = 360.0, 44.0, 26.0
N_SHADES = 32
PALE, DARK = np.array([226.0, 236, 245]), np.array([13.0, 0, 80])
MOST_LABELS = 24


def heat_map(matrix: np.ndarray, *, first: int = 1) -> str:
    """Return `matrix` (n, n) as SVG, rows downwards, its nodes numbered from `first`.

    Entries that are 0 or not finite stay white. The shade is linear in the logarithm where all others are
    positive and span more than a decade, else linear in the value.
    """
    n = len(matrix)
    side = SIZE / max(n, 1)
    rows, columns = np.nonzero(np.isfinite(matrix) & (matrix != 0))
    values = matrix[rows, columns]
    logarithmic = len(values) > 0 and values.min() > 0 and values.max() > 10 * values.min()
    heights = np.log10(values) if logarithmic else values
    span = float(np.ptp(heights)) if len(values) else 0.0
    part = (heights - heights.min()) / span if span > 0 else np.ones(len(values))
    shades = (part * (N_SHADES - 1)).round().astype(int)
    body = f'<rect x="{LEFT}" y="{TOP}" width="{SIZE:g}" height="{SIZE:g}" fill="#fff" stroke="#8a8f98"/>'
    # one path for each shade: a matrix of hundreds of nodes stays a small picture
    for shade in np.unique(shades):
        at = shades == shade
        cells = "".join(
            f"M{LEFT + side * j:.2f} {TOP + side * i:.2f}h{side:.2f}v{side:.2f}h-{side:.2f}z"
            for i, j in zip(rows[at], columns[at], strict=True)
        )
        body += f'<path d="{cells}" fill="{_colour(shade)}"/>'
    stride = -(-n // MOST_LABELS)
    for k in range(0, n, max(stride, 1)):
        middle = side * (k + 0.5)
        for x, y, anchor in ((LEFT + middle, TOP - 8, "middle"), (LEFT - 8, TOP + middle + 4, "end")):
            body += f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{first + k}</text>'
    if len(values):
        body += _key(float(values.min()), float(values.max()), logarithmic=logarithmic)
    return svg(
        LEFT + SIZE + 110, TOP + SIZE + 10, title="Matrix of edges, a row and a column a node", body=body
    )


def _key(low: float, high: float, *, logarithmic: bool) -> str:
    """Return the shades with the values at both ends, right of the matrix."""
    x, height = LEFT + SIZE + 18, SIZE / 2 / N_SHADES
    body = ""
    for k in range(N_SHADES):
        y = TOP + 14 + (N_SHADES - 1 - k) * height
        # a little overlap, so that no gap shows between shades
        body += f'<rect x="{x}" y="{y:.2f}" width="14" height="{height + 0.3:.2f}" fill="{_colour(k)}"/>'
    body += f'<text class="tick" x="{x}" y="{TOP + 8}">{short(high)}</text>'
    body += f'<text class="tick" x="{x}" y="{TOP + 28 + SIZE / 2:.1f}">{short(low)}</text>'
    kind = "logarithmic" if logarithmic else "linear"
    return body + f'<text class="tick" x="{x}" y="{TOP + 46 + SIZE / 2:.1f}">{kind}</text>'


def _colour(shade: int) -> str:
    red, green, blue = (PALE + (DARK - PALE) * shade / (N_SHADES - 1)).round().astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"

"""The page of a connectome: its streamlines to turn, its matrix as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import numpy as np
from torch import Tensor

from ..acquisition.text import write_text
from ..tractography import Streamlines
from .heat_map import heat_map
from .markup import figure, figures, fill, json_text, package_text, table
from .numerals import significant
from .streamline_data import streamline_data


def write_connectome_page(
    path: str | Path,
    streamlines: Streamlines,
    nodes: Tensor,
    matrix: Tensor,
    *,
    settings: Mapping[str, object],
    keeps_unassigned: bool = False,
) -> None:
    """Write a self-contained HTML page.

    Parameters
    ----------
    path : path
        .html.
    streamlines : Streamlines
        mm, world RAS+.
    nodes : (S, 2) Tensor
        Node at either end of each, 0 where there is none.
    matrix : (n, n) Tensor
        Edges.
    settings : mapping
        Names and values to list.
    keeps_unassigned : bool
        Whether the first row and column are of ends without a node.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    write_text(path, render(streamlines, nodes, matrix, settings=settings, keeps_unassigned=keeps_unassigned))


def render(
    streamlines: Streamlines,
    nodes: Tensor,
    matrix: Tensor,
    *,
    settings: Mapping[str, object],
    keeps_unassigned: bool = False,
) -> str:
    """Return the page as one HTML string."""
    edges = matrix.detach().cpu().numpy()
    lengths = streamlines.detach().lengths.cpu().numpy()
    n_joined, first = int((nodes > 0).all(1).sum()), 0 if keeps_unassigned else 1
    headline = {
        "streamlines": str(len(streamlines)),
        "with a node at both ends": str(n_joined),
        "nodes": str(len(edges) - 1 + first),
        "edges": str(_n_edges(edges)),
        "median length": f"{significant(float(np.median(lengths)))} mm" if len(lengths) else "none",
    }
    data = streamline_data(streamlines)
    parts = {
        "style": package_text("style.css"),
        "viewer": package_text("turntable.js") + package_text("tracks.js"),
        "figures": figures(headline.items()),
        "tracks_text": escape(
            f"{data['n_shown']} of {len(streamlines)} streamlines, coloured by direction: red left to right, "
            "green back to front, blue up. What is farther away is paler."
        ),
        "streamline_data": json_text(data),
        "matrix_text": "Rows and columns are nodes"
        + (", the first of ends without one" if keeps_unassigned else "")
        + "; entries that are zero are white.",
        "matrix": figure("Edge between two nodes", heat_map(edges, first=first)),
        "settings": table("Settings of the run", [(name, str(value)) for name, value in settings.items()]),
    }
    return fill(package_text("tracks.html"), parts)


def _n_edges(matrix: np.ndarray) -> int:
    """Return the number of pairs of nodes with an edge, whichever half of the matrix tells of it."""
    is_edge = np.isfinite(matrix) & (matrix != 0)
    return int(np.triu(is_edge | is_edge.T).sum())

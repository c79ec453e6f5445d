"""The page of streamlines: themselves to turn and, where they are known, the edges they make as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from torch import Tensor

from ..text_files import write_text
from ..tractography import Streamlines
from .heat_map import heat_map
from .markup import figure, figures, fill, json_text, package_text, table
from .numerals import significant
from .streamline_data import streamline_data


@dataclass(frozen=True, eq=False)
class Edges:
    """What streamlines make of labels.

    Parameters
    ----------
    nodes : (S, 2) Tensor
        Node at either end of each streamline, 0 where there is none.
    matrix : (n, n) Tensor
        Edges between nodes.
    keeps_unassigned : bool
        Whether the first row and column are of ends without a node.
    """

    nodes: Tensor
    matrix: Tensor
    keeps_unassigned: bool = False


def write_tractogram_page(
    path: str | Path, streamlines: Streamlines, edges: Edges | None = None, *, settings: Mapping[str, object]
) -> None:
    """Write a self-contained HTML page.

    Parameters
    ----------
    path : path
        .html.
    streamlines : Streamlines
        mm, world RAS+.
    edges : Edges, optional
        Drawn too where given.
    settings : mapping
        Names and values to list.

    Raises
    ------
    FileError
        When the file cannot be written.
    """
    write_text(path, render(streamlines, edges, settings=settings))


def render(streamlines: Streamlines, edges: Edges | None = None, *, settings: Mapping[str, object]) -> str:
    """Return the page as one HTML string."""
    lengths = streamlines.detach().lengths.cpu().numpy()
    median = f"{significant(float(np.median(lengths)))} mm" if len(lengths) else "none"
    headline = {"streamlines": str(len(streamlines)), "median length": median}
    data = streamline_data(streamlines)
    parts = {
        "style": package_text("style.css"),
        "viewer": package_text("turntable.js") + package_text("tractogram.js"),
        "figures": figures((headline if edges is None else headline | _counts(edges)).items()),
        "tracks_text": escape(
            f"{data['n_shown']} of {len(streamlines)} streamlines, coloured by direction: red left to right, "
            "green back to front, blue up. What is farther away is paler."
        ),
        "streamline_data": json_text(data),
        "edges": "" if edges is None else _edges_section(edges),
        "settings": table("Settings of the run", [(name, str(value)) for name, value in settings.items()]),
    }
    return fill(package_text("tractogram.html"), parts)


def _counts(edges: Edges) -> dict[str, str]:
    matrix = edges.matrix.detach().cpu()
    # a pair of nodes is one edge, whichever half of the matrix tells of it
    is_edge = matrix.isfinite() & (matrix != 0)
    return {
        "with a node at both ends": str(int((edges.nodes > 0).all(1).sum())),
        "nodes": str(len(matrix) - int(edges.keeps_unassigned)),
        "edges": str(int((is_edge | is_edge.T).triu().sum())),
    }


def _edges_section(edges: Edges) -> str:
    of_none = ", the first of ends without one" if edges.keeps_unassigned else ""
    picture = heat_map(edges.matrix.detach().cpu().numpy(), first=0 if edges.keeps_unassigned else 1)
    return (
        '<section aria-labelledby="h-edges">\n<h2 id="h-edges">Edges</h2>\n'
        f"<p>Rows and columns are nodes{of_none}; entries that are zero are white.</p>\n"
        f"{figure('Edge between two nodes', picture)}\n</section>"
    )

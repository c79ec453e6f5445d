"""`Morphology`: a neuron traced as a tree of balls, and the SWC files that hold it.

An SWC file has seven columns: id, type, x, y, z, radius and the id of the parent, −1 at the root; `#` starts
a comment. Format: Cannon, Turner, Pyapali and Wheal, J. Neurosci. Methods 84, 49 (1998).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...errors import FileError, InputError
from ..meshio_files import require_file

SOMA = 1
"""The type of the nodes of a cell body; 2 is axon, 3 basal and 4 apical dendrite, others are free."""

_COLUMNS = ("id", "type", "x", "y", "z", "radius", "parent")
_WHOLE = ("id", "type", "parent")


@dataclass(frozen=True, eq=False)
class Morphology:
    """One tree of N nodes, each a ball, whose edges are the neurites between them; lengths in µm.

    Parameters
    ----------
    ids, types : (N,) int64 Tensor
        As a file numbers them.
    positions : (N, 3) float64 Tensor
        Centres, µm.
    radii : (N,) float64 Tensor
        µm.
    parents : (N,) int64 Tensor
        Row, not id, of the node before; −1 at the root.

    Raises
    ------
    InputError
        When a position or radius is not finite, a radius is not positive, or the nodes are not one tree.
    """

    ids: Tensor
    types: Tensor
    positions: Tensor
    radii: Tensor
    parents: Tensor

    def __post_init__(self) -> None:
        names = [f"morphology: node {int(i)}" for i in self.ids]
        _require_balls(self.positions.tolist(), self.radii.tolist(), names)
        _require_tree(self.parents.tolist(), names, "morphology")

    @property
    def n_nodes(self) -> int:
        """Number of nodes N."""
        return len(self.ids)

    @property
    def is_soma(self) -> Tensor:
        """Which nodes (N,) are of the cell body."""
        return self.types == SOMA

    @property
    def length(self) -> Tensor:
        """Total length of the edges, µm."""
        child = self.parents >= 0
        steps = self.positions[child] - self.positions[self.parents[child]]
        length: Tensor = steps.norm(dim=1).sum()
        return length


def read_swc(path: str | os.PathLike[str]) -> Morphology:
    """Return the tree in an SWC file, µm. Its nodes may stand in any order.

    Raises
    ------
    FileError
        When the file is missing, empty or no text, a line has not seven columns or holds what is no number,
        an id is given twice, a parent does not exist, a radius is not positive, or the nodes are not one
        tree: no root, several roots, or a cycle. The message names file, line and column.
    """
    file = Path(path)
    numbered = _rows(file)
    places, rows = [f"{file}: line {n}" for n, _ in numbered], [values for _, values in numbered]
    row_of: dict[int, int] = {}
    for row, values in enumerate(rows):
        number = int(values[0])
        if number in row_of:
            raise FileError(
                f"{places[row]}: id {number} is also that of line {numbered[row_of[number]][0]}, "
                "expected one line for each id"
            )
        row_of[number] = row
    for place, values in zip(places, rows, strict=True):
        if values[6] != -1 and int(values[6]) not in row_of:
            raise FileError(f"{place}: parent {values[6]:g} does not exist, expected -1 or an id of the file")
    parents = [row_of[int(values[6])] if values[6] != -1 else -1 for values in rows]
    table = torch.tensor(rows, dtype=torch.float64)
    try:
        _require_balls(table[:, 2:5].tolist(), table[:, 5].tolist(), places)
        _require_tree(parents, places, str(file))
    except InputError as error:
        raise FileError(str(error)) from error
    whole = table[:, :2].long()
    return Morphology(whole[:, 0], whole[:, 1], table[:, 2:5], table[:, 5], torch.tensor(parents))


def _rows(file: Path) -> list[tuple[int, list[float]]]:
    """Return the number of each line that is no comment and its seven values."""
    require_file(file)
    try:
        text = file.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise FileError(f"{file}: is a binary file, expected SWC text") from error
    lines = [(n, line.split("#")[0].split()) for n, line in enumerate(text.splitlines(), start=1)]
    rows = [(n, _values(f"{file}: line {n}", words)) for n, words in lines if words]
    if not rows:
        raise FileError(f"{file}: holds no nodes, expected lines of {' '.join(_COLUMNS)}")
    return rows


def _values(place: str, words: Sequence[str]) -> list[float]:
    if len(words) != len(_COLUMNS):
        raise FileError(f"{place}: {len(words)} columns, expected 7 ({' '.join(_COLUMNS)})")
    values = []
    for name, word in zip(_COLUMNS, words, strict=True):
        try:
            value = float(word)
        except ValueError as error:
            raise FileError(f"{place}: {name} is {word!r}, expected a number") from error
        if name in _WHOLE and not value.is_integer():
            raise FileError(f"{place}: {name} is {word}, expected a whole number")
        values.append(value)
    return values


def _require_balls(
    positions: Sequence[Sequence[float]], radii: Sequence[float], places: Sequence[str]
) -> None:
    for place, position, radius in zip(places, positions, radii, strict=True):
        for name, value in zip("xyz", position, strict=True):
            if not math.isfinite(value):
                raise InputError(f"{place}: {name} is {value}, expected a finite number of µm")
        if not (radius > 0 and math.isfinite(radius)):
            raise InputError(f"{place}: radius is {radius:g}, expected a positive number of µm")


def _require_tree(parents: Sequence[int], places: Sequence[str], name: str) -> None:
    """Raise where the rows of `parents`, −1 at a root, are not one tree."""
    roots = [row for row, parent in enumerate(parents) if parent < 0]
    if not roots:
        raise InputError(f"{name}: parent is -1 nowhere, expected it for one node, the root")
    if len(roots) > 1:
        raise InputError(
            f"{places[roots[1]]}: parent is -1, the root of a second of {len(roots)} trees; expected one tree"
        )
    reaches_root = [parent < 0 for parent in parents]
    for start in range(len(parents)):
        path, row = [], start
        while not reaches_root[row]:
            path.append(row)
            row = parents[row]
            if row in path[-1:] or len(path) > len(parents):
                raise InputError(f"{places[row]}: parent leads back to the node itself, expected no cycle")
        for row in path:
            reaches_root[row] = True

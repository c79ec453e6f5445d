"""TetGen's `.node` and `.ele` files.

Format: https://wias-berlin.de/software/tetgen/fformats.html. A `.node` file holds a header `count dimension
attributes markers` and lines `index x y z …`; an `.ele` file a header `count nodes attributes` and lines
`index n1 n2 n3 n4 …`. `#` starts a comment. Indices start at 0 or 1, as the first node says.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import FileError, MeshError


def read_tetgen(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return `(points, cells, labels)` of the pair that `path`, either file or their stem, belongs to.

    Returns
    -------
    points : (V, 3) float array
    cells : (T, 4) or (T, 10) int array
        0-based.
    labels : (T,) float array or None
        The first element attribute.
    """
    node, ele = tetgen_pair(path)
    nodes, attributes = _read_table(node, "node count, dimension 3, attributes, markers")
    if attributes[:1] != [3]:
        dimension = attributes[0] if attributes else "nothing"
        raise FileError(f"{node}: the header says dimension {dimension}, expected 3")
    points = _columns(nodes, 1, 4, node, "x y z")
    index = nodes[:, 0]
    start = int(index[0]) if len(index) else 0
    if start not in (0, 1):
        raise FileError(f"{node}: the first node is numbered {start}, expected 0 or 1")
    _check_numbering(index, start, node)
    elements, attributes = _read_table(ele, "tet count, nodes per tet, attributes")
    width = attributes[0] if attributes else 0
    if width not in (4, 10):
        raise FileError(f"{ele}: the header says {width} nodes per tet, expected 4 or 10")
    cells = _columns(elements, 1, 1 + width, ele, f"{width} node numbers")
    wrong = ~np.isin(cells, index).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        missing = cells[row][~np.isin(cells[row], index)][0]
        raise MeshError(
            f"{ele}: tet {int(elements[row, 0])} names node {missing:g}, "
            f"expected {start} … {start + len(index) - 1}"
        )
    n_labels = attributes[1] if len(attributes) > 1 else 0
    labels = _columns(elements, 1 + width, 2 + width, ele, "an attribute")[:, 0] if n_labels else None
    return points, cells.astype(np.int64) - start, labels


def write_tetgen(stem: Path, points: np.ndarray, tets: np.ndarray, labels: np.ndarray) -> None:
    """Write `stem`.node and `stem`.ele, 0-based, with `labels` (T,) as element attribute."""
    node, ele = tetgen_pair(stem)
    with node.open("w", encoding="utf-8") as file:
        file.write(f"{len(points)} 3 0 0\n")
        file.writelines(f"{i} {x!r} {y!r} {z!r}\n" for i, (x, y, z) in enumerate(points.tolist()))
    with ele.open("w", encoding="utf-8") as file:
        file.write(f"{len(tets)} 4 1\n")
        rows = np.column_stack([np.arange(len(tets)), tets, labels]).tolist()
        file.writelines(" ".join(map(str, row)) + "\n" for row in rows)


def tetgen_pair(path: Path) -> tuple[Path, Path]:
    """Return the `.node` and the `.ele` file that belong to `path`, which is either of them or their stem."""
    stem = path.with_suffix("") if path.suffix in (".node", ".ele") else path
    return stem.with_name(stem.name + ".node"), stem.with_name(stem.name + ".ele")


def _read_table(path: Path, header: str) -> tuple[np.ndarray, list[int]]:
    """Return the rows of numbers under the header of `path`, and the header without its first number."""
    if not path.is_file():
        raise FileError(f"{path}: does not exist, expected beside the other file of the TetGen pair")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is a binary file, expected TetGen text") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    lines = [(n, line.split("#")[0].split()) for n, line in enumerate(text.splitlines(), start=1)]
    lines = [(n, words) for n, words in lines if words]
    if not lines:
        raise FileError(f"{path}: is empty, expected a header line ({header})")
    try:
        count, *rest = (int(word) for word in lines[0][1])
    except ValueError as error:
        raise FileError(f"{path}: line {lines[0][0]} is not a header of integers ({header})") from error
    if count != len(lines) - 1:
        raise FileError(
            f"{path}: holds {len(lines) - 1} rows, expected {count} as its header says (truncated?)"
        )
    if count == 0:
        raise FileError(f"{path}: its header announces no rows, expected at least one")
    width = len(lines[1][1])
    rows = np.empty((count, width))
    for row, (n, words) in zip(rows, lines[1:], strict=True):
        if len(words) != width:
            raise FileError(f"{path}: line {n} has {len(words)} columns, expected {width} like the first row")
        try:
            row[:] = [float(word) for word in words]
        except ValueError as error:
            raise FileError(
                f"{path}: line {n} holds a word that is not a number, expected {width} numbers"
            ) from error
    return rows, rest


def _columns(rows: np.ndarray, start: int, stop: int, path: Path, what: str) -> np.ndarray:
    if rows.shape[1] < stop:
        raise FileError(f"{path}: rows have {rows.shape[1]} columns, expected an index and {what}")
    return rows[:, start:stop]


def _check_numbering(index: np.ndarray, start: int, path: Path) -> None:
    wrong = index != start + np.arange(len(index))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise FileError(
            f"{path}: node {row + 1} of the list is numbered {index[row]:g}, expected {start + row}"
        )

"""Text files of numbers: read with errors that name file, line and field; written whole or not at all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .errors import FileError, InputError
from .replace import replaced_when_written

if TYPE_CHECKING:
    from torch import Tensor

PathLike = str | os.PathLike[str]


class Line(NamedTuple):
    """A line of a file that holds data: its number, counted from 1, and its words."""

    number: int
    words: list[str]


def read_text(path: PathLike) -> str:
    """Return the text of a file, without a byte-order mark.

    Raises
    ------
    FileError
        When the file is missing, empty, a folder, unreadable or not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise FileError(f"{path}: is a folder; expected a file") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: is binary; expected text") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    if "\0" in text:
        raise FileError(f"{path}: is binary; expected text")
    if not text.strip():
        raise FileError(f"{path}: is empty")
    return text


def data_lines(text: str) -> list[Line]:
    """Return the lines that are neither blank nor comments (#)."""
    numbered = enumerate(text.splitlines(), start=1)
    return [
        Line(i, line.split()) for i, line in numbered if line.strip() and not line.lstrip().startswith("#")
    ]


def table(path: PathLike, lines: Sequence[Line], columns: Sequence[str]) -> Tensor:
    """Return `lines` as finite numbers (N, C), one column for each name of `columns`.

    Raises
    ------
    FileError
        When there is no line, a line has more or fewer words, or a word is not a finite number.
    """
    import torch

    if not lines:
        raise FileError(f"{path}: has no measurement; expected lines of {' '.join(columns)}")
    for line in lines:
        if len(line.words) != len(columns):
            raise FileError(
                f"{path}: line {line.number}: {len(line.words)} values; "
                f"expected {len(columns)} ({' '.join(columns)})"
            )
    rows = [
        [number(path, line.number, name, word) for name, word in zip(columns, line.words, strict=True)]
        for line in lines
    ]
    return torch.tensor(rows, dtype=torch.float64)


def number(path: PathLike, line: int, field: str, word: str) -> float:
    """Return `word` as a finite number."""
    try:
        value = float(word)
    except ValueError as error:
        raise FileError(f"{path}: line {line}: {field} is {word[:40]!r}; expected a number") from error
    if not math.isfinite(value):
        raise FileError(f"{path}: line {line}: {field} is {word}; expected a finite number")
    return value


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Put the name of a file before the message of an `InputError` raised inside."""
    try:
        yield
    except FileError:
        raise
    except InputError as error:
        raise FileError(f"{path}: {error}") from error


def format_number(value: float) -> str:
    """Return `value` with 15 digits: exact to 1e-15, and 1000 stays 1000 after a square root and a square."""
    return f"{value:.15g}"


def write_text(path: PathLike, text: str) -> None:
    """Write a file beside its place, then rename it, so that no reader sees half of it.

    Raises
    ------
    FileError
        When the folder is missing or cannot be written.
    """
    with replaced_when_written(path) as beside:
        beside.write_text(text, encoding="utf-8")

"""Shards: the shapes of one block of indices, as arrays in a compressed NumPy archive.

Shard k holds those of the indices 256k … 256k + 255 that were made, in their order. So its bytes say nothing
about the order in which they were asked for. The archive is a zip file: it has a checksum for each array.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import FileError, InputError
from ...replace import replaced_when_written

SHARD_SIZE = 256

Arrays = dict[str, np.ndarray]


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of shard `number`."""
    return folder / f"shard_{number:05d}.npz"


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards in `folder` that exist, in the order of their indices."""
    found = [path for path in folder.iterdir() if re.fullmatch(r"shard_\d{5}\.npz", path.name)]
    return sorted(found)


def blocks(indices: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield the number of each shard that sorted `indices` fall into, and those that do."""
    for number, block in groupby(indices, key=lambda index: index // SHARD_SIZE):
        yield number, list(block)


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed NumPy archive, whole or not at all."""
    with replaced_when_written(path) as beside:
        np.savez_compressed(beside, **arrays)


def read_shard(path: Path, names: Sequence[str] | None = None) -> Arrays:
    """Return the arrays `names` of a shard, or all it has.

    Raises
    ------
    FileError
        When the file is damaged, or its arrays are not those of a shard.
    """
    arrays = read_arrays(path, names)
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise FileError(f"{path}: has arrays of different lengths {lengths}, expected a row for each shape")
    return arrays


def read_arrays(path: Path, names: Sequence[str] | None = None) -> Arrays:
    """Return the arrays `names` of a NumPy archive, or all it has.

    Raises
    ------
    FileError
        When the file is damaged, or lacks one.
    """
    try:
        with np.load(path) as archive:
            names = archive.files if names is None else names
            for name in names:
                if name not in archive:
                    raise FileError(f"{path}: has no array {name}; making the data set again adds it")
            return {name: archive[name] for name in names}
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise FileError(f"{path}: is damaged ({error}); delete it to have it made anew") from error
    except FileError:
        raise
    except (ValueError, TypeError) as error:
        # what NumPy says of bytes that are no archive speaks of pickles
        raise FileError(f"{path}: is no NumPy archive of numbers; delete it to have it made anew") from error


def indices_of(path: Path) -> np.ndarray:
    """Return the indices (n,) of the shapes in a shard.

    Raises
    ------
    FileError
        When they are not indices of this shard in their order.
    """
    indices = read_shard(path, ["index"])["index"]
    number = int(path.stem.removeprefix("shard_"))
    if (
        indices.ndim != 1
        or indices.dtype != np.int64
        or (np.diff(indices) <= 0).any()
        or (indices // SHARD_SIZE != number).any()
    ):
        first = number * SHARD_SIZE
        raise FileError(
            f"{path}: index is {indices!r:.60}, expected some of {first} … {first + SHARD_SIZE - 1}, growing"
        )
    return indices


def merged(parts: Sequence[Arrays]) -> Arrays:
    """Return the rows of all `parts` in the order of their indices; of equal ones the last.

    Rows without signals beside others with them get NaN.
    """
    widths = {part["signals"].shape[1] for part in parts if "signals" in part}
    if len(widths) > 1:
        raise InputError(f"signals: {sorted(widths)} values, expected as many of each shape")
    if widths:
        (width,) = widths
        parts = [
            {"signals": np.full((len(part["index"]), width), np.nan, np.float32)} | part for part in parts
        ]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # np.unique gives the first of equal ones, here from the end
    last = len(rows["index"]) - 1 - np.unique(rows["index"][::-1], return_index=True)[1]
    return {name: array[last] for name, array in rows.items()}

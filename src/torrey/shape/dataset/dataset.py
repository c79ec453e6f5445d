"""`Dataset`: the shapes in a folder, read when asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import FileError, InputError, MeshError
from ...mesh import TetMesh
from ..families import Split
from ..families.sample import canonical
from .manifest import Manifest, read_manifest
from .shard import indices_of, read_arrays, read_shard, shard_paths

Which = int | slice | range | Sequence[int] | Tensor
"""Positions in a data set, counted from 0 in the order of the indices of shapes."""

TEMPLATE = "template.npz"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Shapes of one family in a folder.

    They stand in the order of their index in the family. Where all were made, the position of a shape is its
    index. Methods that take `which` return one row for each position in it, or a row without that axis
    for a single number.
    """

    folder: Path
    manifest: Manifest
    template: TetMesh
    indices: Tensor
    """Index of each shape in its family (n,), growing."""

    _shards: tuple[Path, ...] = field(repr=False)
    _starts: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def vertices(self, which: Which = slice(None)) -> Tensor:
        """Return vertices (n, V, 3), float32, µm, in the pose of each shape."""
        return self._rows("vertices", which)

    def canonical(self, which: Which = slice(None)) -> Tensor:
        """Return vertices (n, V, 3), float32, µm, turned back to the template's pose and centred."""
        return canonical(self.vertices(which), self.rotations(which).float())

    def rotations(self, which: Which = slice(None)) -> Tensor:
        """Return the rotations (n, 3, 3), float64, of the poses."""
        return self._rows("rotation", which)

    def scales(self, which: Which = slice(None)) -> Tensor:
        """Return the scales (n, 3), float64, along the axes of the template."""
        return self._rows("scale", which)

    def signals(self, which: Which = slice(None)) -> Tensor:
        """Return signals (n, N), float32, µm³.

        Raises
        ------
        InputError
            When one of the shapes has none.
        """
        found = self._rows("signals", which)
        if bool(found.isnan().any()):
            n = int(found.isnan().any(-1).sum())
            raise InputError(f"{self.folder}: {n} of these shapes have no signals; making it again adds them")
        return found

    @cached_property
    def parameters(self) -> Mapping[str, Tensor]:
        """The parameters (n,) by name, float64; NaN where a shape is of a family without it."""
        table = self._rows("parameters", slice(None))
        return dict(zip(self.manifest.parameters, table.T, strict=True))

    @cached_property
    def n_redrawn(self) -> int:
        """Draws with an inverted tet that were replaced."""
        return int(self._rows("redrawn", slice(None)).sum())

    def split(self, name: Split) -> Tensor:
        """Return the positions (n,) of the shapes of "train", "validation" or "test"."""
        if name not in self.manifest.splits:
            raise InputError(f"split: {name!r} is unknown; expected {', '.join(self.manifest.splits)}")
        first, end = self.manifest.splits[name]
        return ((self.indices >= first) & (self.indices < end)).nonzero()[:, 0]

    def _rows(self, name: str, which: Which) -> Tensor:
        try:
            chosen = which if isinstance(which, slice) else np.asarray(which, dtype=int)
            positions = np.arange(len(self))[chosen]
        except IndexError as error:
            raise InputError(f"{self.folder}: {error}; it holds {len(self)} shapes") from error
        flat = np.atleast_1d(positions)
        shard_of = np.searchsorted(self._starts, flat, side="right") - 1
        rows: np.ndarray | None = None
        for shard in np.unique(shard_of):
            there = shard_of == shard
            array = read_shard(self._shards[shard], [name])[name]
            if rows is None:
                rows = np.empty((len(flat), *array.shape[1:]), dtype=array.dtype)
            if array.shape[1:] != rows.shape[1:]:
                raise FileError(
                    f"{self._shards[shard]}: {name} are of shape {array.shape[1:]}, "
                    f"expected {rows.shape[1:]} as in the others"
                )
            rows[there] = array[flat[there] - self._starts[shard]]
        if rows is None:
            raise InputError(f"{self.folder}: no shape was asked for, expected at least one of {len(self)}")
        return torch.from_numpy(rows if np.ndim(positions) else rows[0])


def open_dataset(path: str | Path) -> Dataset:
    """Open the data set in the folder `path`, complete or not: what its shards hold now.

    Raises
    ------
    FileError
        When it is no data set of this version, or a shard is damaged.
    """
    folder = Path(path)
    manifest, template, shards = read_manifest(folder), read_template(folder), shard_paths(folder)
    indices = [indices_of(shard) for shard in shards]
    starts = np.cumsum([0, *map(len, indices)])[:-1]
    every = np.concatenate([*indices, np.zeros(0, dtype=np.int64)])
    return Dataset(folder, manifest, template, torch.from_numpy(every), tuple(shards), starts)


def read_template(folder: Path) -> TetMesh:
    """Return the mesh that the shapes of the data set in `folder` are deformations of."""
    path = folder / TEMPLATE
    arrays = read_arrays(path, ["vertices", "tets"])
    try:
        return TetMesh(torch.from_numpy(arrays["vertices"]), torch.from_numpy(arrays["tets"]))
    except MeshError as error:
        raise FileError(f"{path}: {error}") from error

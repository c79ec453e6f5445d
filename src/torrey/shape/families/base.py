"""What every family offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

from ...errors import InputError
from ...mesh import TetMesh
from .sample import ShapeSample

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class AbstractFamily(ABC):
    """Shapes numbered from 0: those to train on, then those to validate with, then those to test with."""

    name: ClassVar[str]
    """What files and commands call it."""

    parameters: ClassVar[tuple[str, ...]]
    """Names of the parameters of its deformations."""

    n_shapes: ClassVar[int]

    n_held_out: ClassVar[int]
    """Number of shapes to validate with, and of those to test with."""

    def split(self, name: Split) -> range:
        """Return the indices of "train", "validation" or "test"."""
        validation, test = self.n_shapes - 2 * self.n_held_out, self.n_shapes - self.n_held_out
        ranges: dict[str, range] = {
            "train": range(validation),
            "validation": range(validation, test),
            "test": range(test, self.n_shapes),
        }
        if name not in ranges:
            raise InputError(f"split: {name!r} is unknown; expected train, validation or test")
        return ranges[name]

    def split_of(self, index: int) -> Split:
        """Return the split that `index` is in."""
        for name in SPLITS:
            if index in self.split(name):
                return name
        raise InputError(f"{self.name}: sample {index} does not exist; expected 0 … {self.n_shapes - 1}")

    @abstractmethod
    def sample(self, index: int, *, seed: int = 0, template: TetMesh | None = None) -> ShapeSample:
        """Return the shape `index`: the same for the same seed and template in every process.

        Parameters
        ----------
        index : int
            0 ≤ index < n_shapes; its split may decide from which values parameters are drawn.
        seed : int
            0 ≤ seed < 2⁶³.
        template : TetMesh, optional
            What is deformed, along z; `torrey.mesh.prism()` by default.

        Raises
        ------
        InputError
            When there is no such shape or seed.
        MeshError
            When no draw leaves all tets of the template upright.
        """

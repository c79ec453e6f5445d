"""The three families of the ReMiDi paper (arXiv 2502.01988): bent and twisted, beaded and fanned prisms.

Each axis is scaled by a factor drawn between 0.5 and 1.5. The paper scales by either; with these two alone
there are 30 angles, 8 scales and 12 poses of fans to train on, and nine of ten would be copies.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import MeshError
from ...mesh import AbstractDeformation, Bead, Bend, Compose, Fan, TetMesh, Twist, prism, tet_volumes
from .base import AbstractFamily, Split
from .draws import Draws
from .pose import axis_rotations
from .sample import ShapeSample

_SCALES = 0.5, 1.5

_ATTEMPTS = 100
"""Draws before a template is given up."""


class AbstractDeformed(AbstractFamily):
    """A family of one template under deformations with random parameters."""

    n_held_out: ClassVar[int] = 4_500

    @abstractmethod
    def draw(self, draws: Draws, split: Split) -> dict[str, float]:
        """Return random parameters of a shape of `split`."""

    @abstractmethod
    def deformation(self, parameters: Mapping[str, float]) -> AbstractDeformation:
        """Return the deformation of the template that has `parameters`."""

    def sample(self, index: int, *, seed: int = 0, template: TetMesh | None = None) -> ShapeSample:
        """Return the shape `index`; a draw with an inverted tet is replaced by the next, and counted."""
        split = self.split_of(index)
        mesh = _usual_template() if template is None else template
        rotations = _rotations()
        for attempt in range(_ATTEMPTS):
            draws = Draws(self.name, seed=seed, index=index, attempt=attempt)
            parameters = self.draw(draws, split)
            scale = torch.tensor([draws.uniform(*_SCALES) for _ in range(3)], dtype=torch.float64)
            rotation = rotations[draws.among(range(len(rotations)))]
            straight = scale * self.deformation(parameters)(mesh.vertices)
            if bool((tet_volumes(straight, mesh.tets) > 0).all()):
                return ShapeSample(
                    family=self.name,
                    index=index,
                    vertices=straight @ rotation.T,
                    rotation=rotation,
                    scale=scale,
                    parameters=parameters,
                    redrawn=attempt,
                )
        raise MeshError(
            f"{self.name}: sample {index} of seed {seed} has inverted tets in each of {_ATTEMPTS} draws; "
            "expected a template that the deformations of the family leave upright"
        )


@dataclass(frozen=True)
class BendTwist(AbstractDeformed):
    """Bent, then twisted: `bend` (dimensionless) and `twist` (rad) both uniform in [0, 0.5)."""

    name: ClassVar[str] = "bend"
    parameters: ClassVar[tuple[str, ...]] = ("bend", "twist")
    n_shapes: ClassVar[int] = 35_136

    def draw(self, draws: Draws, split: Split) -> dict[str, float]:
        """Return random parameters, alike for all splits."""
        return {"bend": draws.uniform(0.0, 0.5), "twist": draws.uniform(0.0, 0.5)}

    def deformation(self, parameters: Mapping[str, float]) -> AbstractDeformation:
        """Return `Bend`, then `Twist`, both from the lowest vertex."""
        return Compose(Bend(parameters["bend"]), Twist(parameters["twist"]))


@dataclass(frozen=True)
class Beads(AbstractDeformed):
    """Beaded: `amplitude` uniform in [0.3, 0.4), `count` odd to train and validate, even to test."""

    name: ClassVar[str] = "bead"
    parameters: ClassVar[tuple[str, ...]] = ("amplitude", "count")
    n_shapes: ClassVar[int] = 33_696

    def draw(self, draws: Draws, split: Split) -> dict[str, float]:
        """Return random parameters: 1, 3, 5 or 7 beads, in a test 0, 2, 4, 6 or 8."""
        counts = (0.0, 2.0, 4.0, 6.0, 8.0) if split == "test" else (1.0, 3.0, 5.0, 7.0)
        return {"amplitude": draws.uniform(0.3, 0.4), "count": draws.among(counts)}

    def deformation(self, parameters: Mapping[str, float]) -> AbstractDeformation:
        """Return `Bead`, from the lowest vertex."""
        return Bead(parameters["amplitude"], parameters["count"])


@dataclass(frozen=True)
class Fans(AbstractDeformed):
    """Fanned by `angle`, whole degrees up to 60: odd to train and validate, even to test."""

    name: ClassVar[str] = "fan"
    parameters: ClassVar[tuple[str, ...]] = ("angle",)
    n_shapes: ClassVar[int] = 35_136

    def draw(self, draws: Draws, split: Split) -> dict[str, float]:
        """Return a random angle: 1, 3, …, 59°, in a test 0, 2, …, 60°."""
        return {"angle": float(draws.among(range(0 if split == "test" else 1, 61, 2)))}

    def deformation(self, parameters: Mapping[str, float]) -> AbstractDeformation:
        """Return `Fan`."""
        return Fan(parameters["angle"])


@cache
def _usual_template() -> TetMesh:
    return prism()


@cache
def _rotations() -> Tensor:
    return axis_rotations()

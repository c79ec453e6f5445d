"""One shape of a family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ShapeSample:
    """The vertices of a shape in its pose, and what made them: x = R diag(s) d(template).

    Parameters
    ----------
    family : str
        Name of the family.
    index : int
        Which of the family.
    vertices : (V, 3) float64 Tensor
        µm, in the pose.
    rotation : (3, 3) float64 Tensor
        R.
    scale : (3,) float64 Tensor
        s, along the axes of the template.
    parameters : mapping of str to float
        Those of the deformation d.
    redrawn : int
        How many draws before this one had an inverted tet.
    """

    family: str
    index: int
    vertices: Tensor
    rotation: Tensor
    scale: Tensor
    parameters: Mapping[str, float]
    redrawn: int = 0

    @property
    def canonical(self) -> Tensor:
        """The vertices diag(s) d(template) (V, 3), µm, centred on their mean."""
        return canonical(self.vertices, self.rotation)


def canonical(vertices: Tensor, rotation: Tensor) -> Tensor:
    """Return `vertices` (..., V, 3) turned back by `rotation` (..., 3, 3) and centred on their mean."""
    turned = vertices @ rotation
    return turned - turned.mean(-2, keepdim=True)

"""The three families as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...errors import InputError
from ...mesh import TetMesh
from .base import AbstractFamily
from .deformed import AbstractDeformed, Beads, BendTwist, Fans
from .sample import ShapeSample


@dataclass(frozen=True)
class Mixed(AbstractFamily):
    """All shapes of the three families: in each split bend & twist, then beads, then fans."""

    members: ClassVar[tuple[AbstractDeformed, ...]] = (BendTwist(), Beads(), Fans())
    name: ClassVar[str] = "mixed"
    parameters: ClassVar[tuple[str, ...]] = tuple(name for each in members for name in each.parameters)
    n_shapes: ClassVar[int] = sum(each.n_shapes for each in members)
    n_held_out: ClassVar[int] = sum(each.n_held_out for each in members)

    def sample(self, index: int, *, seed: int = 0, template: TetMesh | None = None) -> ShapeSample:
        """Return the shape that `member_of(index)` names, with its own family and index."""
        family, own = self.member_of(index)
        return family.sample(own, seed=seed, template=template)

    def member_of(self, index: int) -> tuple[AbstractDeformed, int]:
        """Return the family that shape `index` is of, and its index there."""
        split = self.split_of(index)
        at = index - self.split(split).start
        for family in self.members:
            own = family.split(split)
            if at < len(own):
                return family, own[at]
            at -= len(own)
        raise AssertionError("the splits of the members add up to those of the whole")


def family_named(name: str) -> AbstractFamily:
    """Return the family that files and commands call `name`: bend, bead, fan or mixed."""
    families: tuple[AbstractFamily, ...] = (*Mixed.members, Mixed())
    for family in families:
        if family.name == name:
            return family
    raise InputError(f"family: {name!r} is unknown; expected {', '.join(each.name for each in families)}")

"""One step along a field: Euler's, and the fourth-order one of MRtrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

from .rules import Heading, Rule


class Move(NamedTuple):
    """A step of n streamlines.

    Attributes
    ----------
    points : (n, 3) Tensor
        Where it ends.
    directions : (n, 3) Tensor
        Unit vectors along it.
    stages : tuple of ((n, 3) Tensor, Heading)
        The positions at which the field was read, and what was read there.
    """

    points: Tensor
    directions: Tensor
    stages: tuple[tuple[Tensor, Heading], ...]


class Method(Protocol):
    """A method of integration; its usual step is counted in voxels."""

    @property
    def usual_step(self) -> float:
        """MRtrix's default."""

    def move(self, rule: Rule, image: Tensor, points: Tensor, directions: Tensor, step: Tensor) -> Move:
        """Go `step` mm from `points`, having come along `directions`; differentiable but in the latter."""

    def turn(self, rule: Rule, directions: Tensor, move: Move) -> Turn:
        """Return what the angle is judged by."""


class Turn(NamedTuple):
    """A change of direction, (n, 3) `before` and `after`, with the stage that gave the latter."""

    before: Tensor
    after: Tensor
    stage: tuple[Tensor, Heading]


@dataclass(frozen=True)
class Euler:
    """Go straight along the direction at the position."""

    usual_step = 0.1

    def move(self, rule: Rule, image: Tensor, points: Tensor, directions: Tensor, step: Tensor) -> Move:
        """Take one step."""
        here = rule.heading(image, points, directions)
        return Move(points + step * here.directions, here.directions, ((points, here),))

    def turn(self, rule: Rule, directions: Tensor, move: Move) -> Turn:
        """Judge the angle between the last direction and this one."""
        return Turn(directions, move.directions, move.stages[0])


@dataclass(frozen=True)
class RungeKutta:
    """Go along the weighted mean of four directions, of unit length so that a step stays as long as asked.

    The stages may turn as they like; the angle is judged between the first of them and the direction at the
    end (MRtrix's `-rk4`).
    """

    usual_step = 0.25

    def move(self, rule: Rule, image: Tensor, points: Tensor, directions: Tensor, step: Tensor) -> Move:
        """Take one step."""
        first = rule.heading(image, points, directions)
        at_second = points + 0.5 * step * first.directions
        second = rule.heading(image, at_second, directions)
        at_third = points + 0.5 * step * second.directions
        third = rule.heading(image, at_third, directions)
        at_fourth = points + step * third.directions
        fourth = rule.heading(image, at_fourth, _unit(second.directions + third.directions).detach())
        mean = _unit(first.directions + 2 * second.directions + 2 * third.directions + fourth.directions)
        stages = ((points, first), (at_second, second), (at_third, third), (at_fourth, fourth))
        return Move(points + step * mean, mean, stages)

    def turn(self, rule: Rule, directions: Tensor, move: Move) -> Turn:
        """Judge the angle between the first stage and the direction at the end."""
        last = rule.heading(rule.image, move.points, move.directions)
        return Turn(move.stages[0][1].directions, last.directions, (move.points, last))


def usable(rule: Rule, points: Tensor, heading: Heading, cutoff: float) -> Tensor:
    """Tell (n,) where a heading lets a streamline go on: in the image, found, and of some amplitude."""
    return rule.support.contains(points) & heading.found & (heading.amplitudes >= cutoff)


def _unit(vectors: Tensor) -> Tensor:
    unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit

"""How a step is made of the directions of a rule: Euler's and the classical Runge–Kutta's.

DIPY has Euler's only. The stages of `RungeKutta` are chosen as MRtrix does: the second and third with the
direction in which the streamline came, the fourth with the mean of these two. Their weighted mean is not
normalised, as in scilpy and other than in MRtrix: a step is the chord, a little shorter than `step` in a
bend, and the error is of fourth order; steps of fixed length would make it of second order along the
curve. A stage without a direction ends the streamline before the step, and each keeps to the angle of the
algorithm, by which DIPY's algorithms choose a peak.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor
from torch.nn.functional import normalize

from ...grid import Grid
from ..rules import Heading
from ..stepping import Euler, RungeKutta


class DipyRule(Protocol):
    """A field, made ready for an algorithm of DIPY's, which ends where it finds no direction."""

    @property
    def grid(self) -> Grid:
        """The voxels."""

    @property
    def image(self) -> Tensor:
        """(V, C) values of the voxels, to which gradients flow."""

    @property
    def rows_at_once(self) -> int:
        """How many positions to ask for at once, so that what they need stays in the cache."""

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the directions at `points` (n, 3), reached along `references` (n, 3)."""


class Direction(NamedTuple):
    """Vectors (n, 3) to step along, of length 1 or a little less, and which streamlines have one (n,)."""

    directions: Tensor
    found: Tensor


class Stages(Protocol):
    """A method of integration."""

    def __call__(
        self, rule: DipyRule, image: Tensor, points: Tensor, last: Tensor, step: Tensor
    ) -> Direction:
        """Return the direction at `points` (n, 3), reached along `last` (n, 3), for a step in mm."""


def euler(rule: DipyRule, image: Tensor, points: Tensor, last: Tensor, step: Tensor) -> Direction:
    """Return the direction at the position."""
    here = rule.heading(image, points, last)
    return Direction(here.directions, here.found)


def runge_kutta(rule: DipyRule, image: Tensor, points: Tensor, last: Tensor, step: Tensor) -> Direction:
    """Return the weighted mean of the directions at the position, twice in the middle and at the end."""
    first = rule.heading(image, points, last)
    second = rule.heading(image, points + 0.5 * step * first.directions, last)
    third = rule.heading(image, points + 0.5 * step * second.directions, last)
    middle = normalize((second.directions + third.directions).detach(), dim=-1)
    fourth = rule.heading(image, points + step * third.directions, middle)
    total = first.directions + 2 * second.directions + 2 * third.directions + fourth.directions
    return Direction(total / 6, first.found & second.found & third.found & fourth.found)


STAGES: dict[type, Stages] = {Euler: euler, RungeKutta: runge_kutta}

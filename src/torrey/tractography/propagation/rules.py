"""What a propagator asks of an algorithm: the direction to go at a position."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ..regions import Region


class Heading(NamedTuple):
    """Where to go from n positions.

    Attributes
    ----------
    directions : (n, 3) Tensor
        Unit vectors, on the side of the reference where the rule has no sign of its own.
    amplitudes : (n,) Tensor
        What the cutoff is compared with: FOD amplitude, fractional anisotropy, …
    found : (n,) Tensor
        Whether the rule gives a direction there at all. bool.
    """

    directions: Tensor
    amplitudes: Tensor
    found: Tensor


class Rule(Protocol):
    """A field, made ready for an algorithm.

    Directions depend on the reference only by the choice of a peak or of a sign, so their derivative with
    respect to it is zero almost everywhere: the adjoint of a streamline carries positions alone.
    """

    @property
    def support(self) -> Region:
        """Where the field is known."""

    @property
    def image(self) -> Tensor:
        """(V, C) values of the voxels, to which gradients flow."""

    def heading(self, image: Tensor, points: Tensor, references: Tensor) -> Heading:
        """Return the directions at `points` (n, 3), differentiable in `image` (V, C) and `points`."""


class Algorithm(Protocol):
    """A way to read directions from a field: a frozen value."""

    def rule(self, field: object) -> Rule:
        """Return the rule for `field`, or raise InputError where the field is of another kind."""

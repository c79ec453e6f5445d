"""Closed plane curves that are refined by inserting points: circles and polygons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Curve(Protocol):
    """A closed curve, counter-clockwise, whose points are numbered by a rising parameter."""

    @property
    def period(self) -> float:
        """Parameter of the first point when it is met again."""

    def start(self, edge_length: float) -> np.ndarray:
        """Return parameters (k,) of a first polygon with edges about as long or shorter, µm."""

    def at(self, parameters: np.ndarray) -> np.ndarray:
        """Return the points (k, 2) of the polygon with these parameters."""


@dataclass(frozen=True)
class Circle:
    """A circle about `(x, y)`; its polygons have exactly its area, so their corners lie slightly outside."""

    x: float
    y: float
    radius: float

    period = 2 * math.pi
    fewest = 12

    def start(self, edge_length: float) -> np.ndarray:
        """Return equidistant angles (k,), at least 12."""
        count = max(self.fewest, math.ceil(self.period * self.radius / edge_length))
        return np.arange(count) * (self.period / count)

    def at(self, parameters: np.ndarray) -> np.ndarray:
        """Return corners (k, 2), each moved out by a share of its sagitta.

        The chords of arcs of angle t leave out the area r²(t − sin t)/2 ≈ r²t³/12; moving a corner out by
        w = r(t₁² + t₂²)/24 makes up for that, and a common factor near one on all w makes the area exact.
        """
        step = np.diff(parameters, append=parameters[0] + self.period)
        shift = (step**2 + np.roll(step, 1) ** 2) / 24
        following = np.roll(shift, -1)
        # area of the polygon with corners 1 + s·shift, less π, as a quadratic in s
        sine = np.sin(step)
        a = (shift * following * sine).sum() / 2
        b = ((shift + following) * sine).sum() / 2
        c = sine.sum() / 2 - math.pi
        s = -2 * c / (b + math.sqrt(b * b - 4 * a * c))
        r = self.radius * (1 + s * shift)
        return np.stack([self.x + r * np.cos(parameters), self.y + r * np.sin(parameters)], axis=1)


@dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon through `corners` (k, 2), which all stay; its parameter counts corners."""

    corners: np.ndarray

    @property
    def period(self) -> float:
        """Number of corners."""
        return float(len(self.corners))

    def start(self, edge_length: float) -> np.ndarray:
        """Return the corners and equidistant points between them."""
        lengths = np.linalg.norm(np.roll(self.corners, -1, axis=0) - self.corners, axis=1)
        counts = np.ceil(lengths / edge_length).astype(int)
        return np.concatenate([i + np.arange(n) / n for i, n in enumerate(counts)])

    def at(self, parameters: np.ndarray) -> np.ndarray:
        """Return the points (k, 2) on the sides."""
        corner = parameters.astype(int)
        along = (parameters - corner)[:, None]
        end = (corner + 1) % len(self.corners)
        points: np.ndarray = (1 - along) * self.corners[corner] + along * self.corners[end]
        return points

r"""Chamfer distances between shapes, µm: d, d′, and d up to what PGSE cannot tell.

    d(A, B) = ½ mean_{a∈A} min_{b∈B} |a − b| + ½ mean_{b∈B} min_{a∈A} |a − b|

Two point sets (n, 3) are compared as they are, the definition of the ReMiDi paper (arXiv 2502.01988),
which takes the vertices: its value has a floor of about half the distance of neighbouring vertices.
Meshes and surfaces are compared as surfaces: A and B are their area-uniform samples, and the minimum runs
over every point of the other surface (exact distance to triangles), so there is no floor, whatever the
number of samples; that number sets the error of the mean only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Generator, Tensor

from ..errors import InputError
from ..mesh import Surface, TetMesh
from ..mesh.nearest import AbstractTarget, PointTarget, TriangleTarget

Shape = TetMesh | Surface | Tensor
"""A mesh or surface, compared as a surface, or points (n, 3), compared as points."""

_SCREEN = 1000
"""Points of each shape on which poses are compared before the best are measured with all."""

_FINALISTS = 3
"""Poses that are measured with all points."""


def chamfer(a: Shape, b: Shape, *, n_points: int = 20_000, generator: Generator | None = None) -> float:
    """Return the Chamfer distance d of `a` and `b` where they are, µm.

    Parameters
    ----------
    a, b : TetMesh, Surface or (n, 3) Tensor
        Both surfaces or both points, µm.
    n_points : int
        Samples on each surface.
    generator : Generator, optional
        Of the samples; one with a fixed seed where not given, so that the same shapes give the same number.
    """
    return _mean_distance(*_measurables(a, b, n_points, generator), _HERE)


def chamfer_up_to_symmetry(
    a: Shape, b: Shape, *, n_points: int = 20_000, generator: Generator | None = None
) -> float:
    """Return d′, µm: d minimised over the 24 axis rotations and point inversion of `b`.

    Both are first centred on their bounding boxes. All 48 poses are compared on about 1 000 points of
    each shape and the best three measured with all, so between poses of nearly the same distance the
    choice is within sampling error; it is exact for point sets of at most 1 000 points. Arguments as for
    `chamfer`.
    """
    first, second = (m.centred() for m in _measurables(a, b, n_points, generator))
    poses = [Pose(sign * R, np.zeros(3)) for R in axis_rotations() for sign in (1.0, -1.0)]
    few = first.thinned(), second.thinned()
    order = np.argsort([_quick_distance(*few, pose)[0] for pose in poses], kind="stable")
    return min(_mean_distance(first, second, poses[i]) for i in order[:_FINALISTS])


def chamfer_up_to_inversion(
    a: Shape, b: Shape, *, n_points: int = 20_000, generator: Generator | None = None
) -> float:
    """Return d, µm, minimised over what PGSE signals do not tell: translation and point reflection of `b`.

    The translation starts where the bounding boxes have the same centre and is refined on about 1 000
    points of each shape. Arguments as for `chamfer`.
    """
    first, second = _measurables(a, b, n_points, generator)
    return min(_mean_distance(first, second, pose) for pose in _poses_up_to_inversion(first, second))


def pose_up_to_inversion(
    a: Shape, b: Shape, *, n_points: int = 20_000, generator: Generator | None = None
) -> Pose:
    """Return the translation, or point reflection, of `b` that minimises d; arguments as for `chamfer`."""
    first, second = _measurables(a, b, n_points, generator)
    return min(_poses_up_to_inversion(first, second), key=lambda pose: _mean_distance(first, second, pose))


@dataclass(frozen=True, eq=False)
class Pose:
    """The map x ↦ Ox + t with O `orthogonal` (3, 3) and t `shift` (3,), µm."""

    orthogonal: np.ndarray
    shift: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return the moved `points` (n, 3)."""
        moved: np.ndarray = points @ self.orthogonal.T + self.shift
        return moved

    def back(self, points: np.ndarray) -> np.ndarray:
        """Return where `points` (n, 3) came from."""
        moved: np.ndarray = (points - self.shift) @ self.orthogonal
        return moved


_HERE = Pose(np.eye(3), np.zeros(3))


def axis_rotations() -> list[np.ndarray]:
    """Return the 24 rotations (3, 3) that map the coordinate axes to one another."""
    signed = (
        np.diag(signs) @ np.eye(3)[list(order)]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    )
    return [R for R in signed if np.linalg.det(R) > 0]


@dataclass(frozen=True, eq=False)
class _Measurable:
    """A shape ready to be measured: points (n, 3) on it, what is nearest on it, its box centre (3,)."""

    points: np.ndarray
    target: AbstractTarget
    centre: np.ndarray
    origin: np.ndarray

    def centred(self) -> _Measurable:
        return _Measurable(self.points, self.target, self.centre, self.centre)

    def thinned(self) -> _Measurable:
        every = -(-len(self.points) // _SCREEN)
        return _Measurable(self.points[::every], self.target, self.centre, self.origin)

    @property
    def placed(self) -> np.ndarray:
        placed: np.ndarray = self.points - self.origin
        return placed


def _measurables(
    a: Shape, b: Shape, n_points: int, generator: Generator | None
) -> tuple[_Measurable, _Measurable]:
    if isinstance(a, Tensor) != isinstance(b, Tensor):
        raise InputError(
            f"chamfer: cannot compare {type(a).__name__} with {type(b).__name__}, expected two point sets "
            "or two of TetMesh and Surface"
        )
    if n_points < 1:
        raise InputError(f"chamfer: n_points is {n_points}, expected at least 1")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return _measurable(a, n_points, generator), _measurable(b, n_points, generator)


def _measurable(shape: Shape, n_points: int, generator: Generator) -> _Measurable:
    if isinstance(shape, Tensor):
        points = shape.detach().double().cpu().numpy()
        if points.ndim != 2 or points.shape[1] != 3 or len(points) == 0:
            raise InputError(f"chamfer: points have shape {tuple(points.shape)}, expected (n, 3) with n ≥ 1")
        return _Measurable(points, PointTarget(points), _box_centre(points), np.zeros(3))
    surface = shape.surface if isinstance(shape, TetMesh) else shape
    if len(surface.triangles) == 0:
        raise InputError("chamfer: the surface has no triangles, expected at least one")
    vertices, triangles = surface.vertices.detach().double().cpu(), surface.triangles.cpu()
    points = Surface(vertices, triangles).sample(n_points, generator=generator).numpy()
    target = TriangleTarget(vertices.numpy(), triangles.numpy())
    return _Measurable(points, target, _box_centre(vertices.numpy()[triangles.numpy()]), np.zeros(3))


def _box_centre(points: np.ndarray) -> np.ndarray:
    flat = points.reshape(-1, 3)
    centre: np.ndarray = (flat.min(0) + flat.max(0)) / 2
    return centre


def _mean_distance(a: _Measurable, b: _Measurable, pose: Pose) -> float:
    """Return d of `a` and `b` moved by `pose`."""
    forth = b.target.distance(pose.back(a.placed) + b.origin).mean()
    back = a.target.distance(pose(b.placed) + a.origin).mean()
    return float(forth + back) / 2


def _quick_distance(a: _Measurable, b: _Measurable, pose: Pose) -> tuple[float, np.ndarray]:
    """Return d from nearly nearest points, never too small, and its gradient (3,) in the shift of `pose`."""
    in_b, in_a = pose.back(a.placed) + b.origin, pose(b.placed) + a.origin
    forth = (in_b - b.target.near(in_b)) @ pose.orthogonal.T
    back = in_a - a.target.near(in_a)
    mean, slopes = 0.0, []
    for offset in (forth, back):
        length = np.linalg.norm(offset, axis=1)
        mean += length.mean() / 2
        # where a distance is zero the zero vector is a subgradient
        slopes.append((offset / np.where(length > 0, length, 1)[:, None]).mean(0) / 2)
    return float(mean), slopes[1] - slopes[0]


def _poses_up_to_inversion(a: _Measurable, b: _Measurable) -> list[Pose]:
    """Return the best pose in the same sense and the best with a point reflection."""
    few = a.thinned(), b.thinned()
    poses = []
    for sign in (1.0, -1.0):
        start = Pose(sign * np.eye(3), a.centre - sign * b.centre)
        moved = _shifted_to_least(*few, start)
        poses.append(min(start, moved, key=lambda pose: _quick_distance(*few, pose)[0]))
    return poses


def _shifted_to_least(a: _Measurable, b: _Measurable, start: Pose) -> Pose:
    """Return `start` with the shift that minimises d on the points of `a` and `b`."""

    def value_and_gradient(shift: np.ndarray) -> tuple[float, np.ndarray]:
        return _quick_distance(a, b, Pose(start.orthogonal, shift))

    found = minimize(
        value_and_gradient, start.shift, jac=True, method="BFGS", options={"gtol": 1e-3, "maxiter": 30}
    )
    return Pose(start.orthogonal, found.x)

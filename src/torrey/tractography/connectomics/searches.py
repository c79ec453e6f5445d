"""Loops over voxels near the ends of streamlines, compiled.

They visit voxels in the order in which `tck2connectome` 3.0.3 does, in the same arithmetic, because nodes
that are equally near are told apart by nothing else.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

Array = np.ndarray
Voxel = tuple[int, int, int]


class Image(NamedTuple):
    """Labels (X, Y, Z), and the affines (3, 4) mm → voxel indices and back."""

    labels: Array
    to_voxels: Array
    to_world: Array


@njit(cache=True)
def _moved(affine: Array, x: float, y: float, z: float) -> tuple[float, float, float]:
    return (
        affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z + affine[0, 3],
        affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] * z + affine[1, 3],
        affine[2, 0] * x + affine[2, 1] * y + affine[2, 2] * z + affine[2, 3],
    )


@njit(cache=True)
def _rounded(x: float) -> int:
    """Return the nearest whole number, halves away from zero."""
    whole = math.trunc(x)
    return whole + int(math.copysign(1.0, x)) if abs(x - whole) >= 0.5 else whole


@njit(cache=True)
def _voxel(image: Image, point: Array) -> Voxel:
    x, y, z = _moved(image.to_voxels, float(point[0]), float(point[1]), float(point[2]))
    return _rounded(x), _rounded(y), _rounded(z)


@njit(cache=True)
def _label(image: Image, voxel: Voxel) -> int:
    """Return the label of a voxel, −1 outside the image."""
    i, j, k = voxel
    shape = image.labels.shape
    if 0 <= i < shape[0] and 0 <= j < shape[1] and 0 <= k < shape[2]:
        return int(image.labels[i, j, k])
    return -1


@njit(cache=True)
def _offset(image: Image, point: Array, voxel: Voxel) -> tuple[float, float, float]:
    """Return the way from a point to the centre of a voxel, mm."""
    x, y, z = _moved(image.to_world, float(voxel[0]), float(voxel[1]), float(voxel[2]))
    return x - point[0], y - point[1], z - point[2]


@njit(cache=True)
def end_voxels(points: Array, image: Image) -> Array:
    """Return the label (E,) of the voxel that holds each point (E, 3)."""
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        nodes[e] = max(_label(image, _voxel(image, points[e])), 0)
    return nodes


@njit(cache=True)
def radial(points: Array, image: Image, offsets: Array, radius: float, slack: float) -> Array:
    """Return the label (E,) of the nearest labelled voxel centre less than `radius` mm from a point (E, 3).

    `offsets` (O, 3) are ordered by length; a centre is up to `slack` mm nearer or farther than its offset.
    """
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        i, j, k = _voxel(image, points[e])
        nearest = radius
        for o in range(len(offsets)):
            voxel = (i + offsets[o, 0], j + offsets[o, 1], k + offsets[o, 2])
            x, y, z = _offset(image, points[e], voxel)
            distance = math.sqrt(x * x + y * y + z * z)
            if distance > nearest + 2 * slack:
                break
            if distance < nearest:
                label = _label(image, voxel)
                if label > 0:
                    nodes[e], nearest = label, distance
    return nodes


@njit(cache=True)
def reverse(points: Array, offsets: Array, image: Image, longest: float) -> Array:
    """Return the first label (S, 2) met from each end towards the middle, for `longest` mm along the way."""
    nodes = np.zeros((len(offsets) - 1, 2), np.int64)
    for s in range(len(offsets) - 1):
        n = offsets[s + 1] - offsets[s]
        for end in range(2):
            # of an odd number of points the first end has the middle one; of two points the last end has none
            count, step = ((n + 1) // 2, 1) if end == 0 else (n - 1 - n // 2, -1)
            at = offsets[s] if end == 0 else offsets[s + 1] - 1
            travelled = 0.0
            for _ in range(count):
                label = _label(image, _voxel(image, points[at]))
                if label > 0:
                    nodes[s, end] = label
                if label > 0 or n == 1:
                    break
                # in the precision of the points, as MRtrix measures it
                x = points[at, 0] - points[at + step, 0]
                y = points[at, 1] - points[at + step, 1]
                z = points[at, 2] - points[at + step, 2]
                travelled += math.sqrt(x * x + y * y + z * z)
                if travelled > longest:
                    break
                at += step
    return nodes


@njit(cache=True, error_model="numpy")
def _cost(image: Image, point: Array, tangent: Array, voxel: Voxel) -> float:
    """Return the distance, mm, times 1 straight ahead … 2 at 45° off; NaN beyond, and at the point itself."""
    x, y, z = _offset(image, point, voxel)
    distance = math.sqrt(x * x + y * y + z * z)
    if distance == 0:
        return math.nan
    # straight ahead rounding may give a cosine above one, whose angle is NaN, there as here
    cosine = tangent[0] * (x / distance) + tangent[1] * (y / distance) + tangent[2] * (z / distance)
    angle = math.acos(cosine)
    if not angle <= math.pi / 4:
        return math.nan
    return distance * (1 + angle / (math.pi / 4))


@njit(cache=True)
def _cheapest(costs: Array, n: int) -> int:
    first = 0
    for m in range(1, n):
        if costs[m] < costs[first]:
            first = m
    return first


@njit(cache=True)
def _holds(costs: Array, n: int, cost: float) -> bool:
    held = False
    for m in range(n):
        held = held or costs[m] == cost
    return held


@njit(cache=True)
def forward(points: Array, tangents: Array, image: Image, longest: float, half: Array) -> Array:
    """Return the label (E,) found first by growing a region ahead of each end (E, 3), cheapest voxel first.

    `half` (3,) voxels reach farther than `longest` mm along each axis.
    """
    visited = np.full((2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1), -1, np.int64)
    costs, voxels = np.empty(visited.size), np.empty((visited.size, 3), np.int64)
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        i, j, k = _voxel(image, points[e])
        low_i, low_j, low_k = i - half[0], j - half[1], k - half[2]
        visited[half[0], half[1], half[2]] = e
        costs[0], n = 0.0, 1
        voxels[0, 0], voxels[0, 1], voxels[0, 2] = i, j, k
        while n:
            first = _cheapest(costs, n)
            i, j, k = voxels[first, 0], voxels[first, 1], voxels[first, 2]
            n -= 1
            costs[first] = costs[n]
            voxels[first, 0], voxels[first, 1], voxels[first, 2] = voxels[n, 0], voxels[n, 1], voxels[n, 2]
            label = _label(image, (i, j, k))
            if label > 0:
                nodes[e] = label
                break
            if label < 0:
                continue
            for c in range(k - 1, k + 2):
                for b in range(j - 1, j + 2):
                    for a in range(i - 1, i + 2):
                        if visited[a - low_i, b - low_j, c - low_k] == e:
                            continue
                        visited[a - low_i, b - low_j, c - low_k] = e
                        # kept in single precision and once: of voxels that cost the same the first is tried
                        exact = _cost(image, points[e], tangents[e], (a, b, c))
                        cost = float(np.float32(exact))
                        if exact <= longest and not _holds(costs, n, cost):
                            costs[n] = cost
                            voxels[n, 0], voxels[n, 1], voxels[n, 2] = a, b, c
                            n += 1
    return nodes


@njit(cache=True)
def nearest_of_each_label(points: Array, image: Image, offsets: Array, reach: float, n_nodes: int) -> Array:
    """Return the flat index (E, N + 1) of the voxel of each label nearest to each point (E, 3).

    −1 beyond `reach` mm; `offsets` (O, 3) hold all voxels that may be within.
    """
    nearest = np.full((len(points), n_nodes + 1), -1, np.int32)
    least = np.empty(n_nodes + 1)
    steps = np.empty((len(offsets), 3))
    for o in range(len(offsets)):
        for axis in range(3):
            row = image.to_world[axis]
            steps[o, axis] = row[0] * offsets[o, 0] + row[1] * offsets[o, 1] + row[2] * offsets[o, 2]
    labels, shape = image.labels, image.labels.shape
    for e in range(len(points)):
        i, j, k = _voxel(image, points[e])
        x, y, z = _offset(image, points[e], (i, j, k))
        least[:] = reach**2
        for o in range(len(offsets)):
            a, b, c = i + offsets[o, 0], j + offsets[o, 1], k + offsets[o, 2]
            # written out: a call with the image for each voxel takes six times as long
            if not (0 <= a < shape[0] and 0 <= b < shape[1] and 0 <= c < shape[2]):
                continue
            label = labels[a, b, c]
            if label > 0:
                square = (x + steps[o, 0]) ** 2 + (y + steps[o, 1]) ** 2 + (z + steps[o, 2]) ** 2
                if square < least[label]:
                    least[label] = square
                    nearest[e, label] = (a * shape[1] + b) * shape[2] + c
    return nearest

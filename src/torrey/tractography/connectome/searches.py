"""Loops over voxels near the ends of streamlines, compiled.

They visit voxels in the order in which `tck2connectome` 3.0.3 does, in the same arithmetic, because nodes that are
equally near are told apart by nothing else. Positions are mm, `to_voxels` and `to_world` (3, 4).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

Array = np.ndarray


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
def _voxel(to_voxels: Array, point: Array) -> tuple[int, int, int]:
    x, y, z = _moved(to_voxels, float(point[0]), float(point[1]), float(point[2]))
    return _rounded(x), _rounded(y), _rounded(z)


@njit(cache=True)
def _label(labels: Array, i: int, j: int, k: int) -> int:
    """Return the label of a voxel, −1 outside the image."""
    if 0 <= i < labels.shape[0] and 0 <= j < labels.shape[1] and 0 <= k < labels.shape[2]:
        return int(labels[i, j, k])
    return -1


@njit(cache=True)
def _distance(to_world: Array, point: Array, i: int, j: int, k: int) -> float:
    x, y, z = _moved(to_world, float(i), float(j), float(k))
    return math.sqrt((point[0] - x) ** 2 + (point[1] - y) ** 2 + (point[2] - z) ** 2)


@njit(cache=True)
def end_voxels(points: Array, labels: Array, to_voxels: Array) -> Array:
    """Return the label (E,) of the voxel that holds each point (E, 3)."""
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        i, j, k = _voxel(to_voxels, points[e])
        nodes[e] = max(_label(labels, i, j, k), 0)
    return nodes


@njit(cache=True)
def radial(
    points: Array, labels: Array, to_voxels: Array, to_world: Array, offsets: Array, radius: float, slack: float
) -> Array:
    """Return the label (E,) of the nearest labelled voxel centre less than `radius` from each point (E, 3).

    `offsets` (O, 3) are ordered by length; a voxel's centre is up to `slack` nearer or farther than its offset.
    """
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        i, j, k = _voxel(to_voxels, points[e])
        nearest = radius
        for o in range(len(offsets)):
            a, b, c = i + offsets[o, 0], j + offsets[o, 1], k + offsets[o, 2]
            distance = _distance(to_world, points[e], a, b, c)
            if distance > nearest + 2 * slack:
                break
            if distance < nearest:
                label = _label(labels, a, b, c)
                if label > 0:
                    nodes[e], nearest = label, distance
    return nodes


@njit(cache=True)
def reverse(points: Array, offsets: Array, labels: Array, to_voxels: Array, longest: float) -> Array:
    """Return the first label (S, 2) met from each end towards the middle, up to `longest` along the streamline."""
    nodes = np.zeros((len(offsets) - 1, 2), np.int64)
    for s in range(len(offsets) - 1):
        n = offsets[s + 1] - offsets[s]
        for end in range(2):
            # of an odd number of points the first end has the one in the middle, and of two points the second
            # end has none
            count, step = ((n + 1) // 2, 1) if end == 0 else (n - 1 - n // 2, -1)
            at = offsets[s] if end == 0 else offsets[s + 1] - 1
            travelled = 0.0
            for _ in range(count):
                i, j, k = _voxel(to_voxels, points[at])
                label = _label(labels, i, j, k)
                if label > 0:
                    nodes[s, end] = label
                    break
                if n == 1:
                    break
                # in the precision of the points, as MRtrix measures it
                dx = points[at, 0] - points[at + step, 0]
                dy = points[at, 1] - points[at + step, 1]
                dz = points[at, 2] - points[at + step, 2]
                travelled += math.sqrt(dx * dx + dy * dy + dz * dz)
                if travelled > longest:
                    break
                at += step
    return nodes


@njit(cache=True, error_model="numpy")
def _cost(to_world: Array, point: Array, tangent: Array, i: int, j: int, k: int) -> float:
    """Return the distance times 1 straight ahead … 2 at 45° from the tangent; NaN beyond, and at the point."""
    x, y, z = _moved(to_world, float(i), float(j), float(k))
    x, y, z = x - point[0], y - point[1], z - point[2]
    distance = math.sqrt(x * x + y * y + z * z)
    if distance == 0:
        return math.nan
    # straight ahead rounding may give a cosine above one, whose angle is NaN, there as here
    angle = math.acos(tangent[0] * (x / distance) + tangent[1] * (y / distance) + tangent[2] * (z / distance))
    if not angle <= math.pi / 4:
        return math.nan
    return distance * (1 + angle / (math.pi / 4))


@njit(cache=True)
def forward(
    points: Array, tangents: Array, labels: Array, to_voxels: Array, to_world: Array, longest: float, half: Array
) -> Array:
    """Return the label (E,) found first by growing a region ahead of each end (E, 3), cheapest voxel first.

    `half` (3,) voxels reach farther than `longest` along each axis.
    """
    visited = np.full((2 * half[0] + 1, 2 * half[1] + 1, 2 * half[2] + 1), -1, np.int64)
    costs = np.empty(visited.size)
    voxels = np.empty((len(costs), 3), np.int64)
    nodes = np.zeros(len(points), np.int64)
    for e in range(len(points)):
        i, j, k = _voxel(to_voxels, points[e])
        low_i, low_j, low_k = i - half[0], j - half[1], k - half[2]
        visited[half[0], half[1], half[2]] = e
        costs[0], n = 0.0, 1
        voxels[0, 0], voxels[0, 1], voxels[0, 2] = i, j, k
        while n:
            first = 0
            for m in range(1, n):
                if costs[m] < costs[first]:
                    first = m
            i, j, k = voxels[first, 0], voxels[first, 1], voxels[first, 2]
            n -= 1
            costs[first] = costs[n]
            for axis in range(3):
                voxels[first, axis] = voxels[n, axis]
            label = _label(labels, i, j, k)
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
                        cost = _cost(to_world, points[e], tangents[e], a, b, c)
                        if not cost <= longest:
                            continue
                        # costs are kept in single precision and once: of voxels that cost the same, the first
                        cost = float(np.float32(cost))
                        taken = False
                        for m in range(n):
                            taken = taken or costs[m] == cost
                        if not taken:
                            costs[n] = cost
                            voxels[n, 0], voxels[n, 1], voxels[n, 2] = a, b, c
                            n += 1
    return nodes


@njit(cache=True)
def nearest_of_each_label(
    points: Array, labels: Array, to_voxels: Array, to_world: Array, offsets: Array, radius: float, n_nodes: int
) -> Array:
    """Return the flat index (E, N + 1) of the voxel of each label nearest to each point (E, 3), −1 beyond `radius`."""
    nearest = np.full((len(points), n_nodes + 1), -1, np.int32)
    least = np.empty(n_nodes + 1)
    for e in range(len(points)):
        i, j, k = _voxel(to_voxels, points[e])
        least[:] = radius
        for o in range(len(offsets)):
            a, b, c = i + offsets[o, 0], j + offsets[o, 1], k + offsets[o, 2]
            label = _label(labels, a, b, c)
            if label > 0:
                distance = _distance(to_world, points[e], a, b, c)
                if distance < least[label]:
                    least[label] = distance
                    nearest[e, label] = (a * labels.shape[1] + b) * labels.shape[2] + c
    return nearest

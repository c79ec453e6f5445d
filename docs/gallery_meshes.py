"""Shaded pictures of tetrahedral meshes: orthographic, cut open where compartments are nested."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

import torrey

# Okabe and Ito's colours, which the colour-blind can tell apart
CELL, SHEATH, OUTSIDE = "#56B4E9", "#D55E00", "#EFE3A8"
AXES = {"x": "#0072B2", "y": "#E69F00", "z": "#009E73"}

_FACES = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])
_EDGES = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
_AMBIENT = 0.5


@dataclass(frozen=True)
class View:
    """How to look at a mesh.

    Parameters
    ----------
    labels : tuple of str
        Kinds of compartments in the order of their numbers: one, or cells and the space around them, or
        cells, as many sheaths, and the space around them.
    azimuth, elevation : float
        Of the eye, degrees; the azimuth from x towards y.
    cut : (float, float, float), optional
        What lies on this side of a plane through the origin is cut away.
    whole : bool
        Whether the first kind is left whole by the cut.
    """

    labels: tuple[str, ...] = ()
    azimuth: float = -60.0
    elevation: float = 22.0
    cut: tuple[float, float, float] | None = None
    whole: bool = False

    @property
    def basis(self) -> np.ndarray:
        """Rows (3, 3): to the right, up, and towards the eye."""
        azimuth, elevation = np.deg2rad([self.azimuth, self.elevation])
        right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        eye = np.array(
            [*(np.cos(elevation) * np.array([np.cos(azimuth), np.sin(azimuth)])), np.sin(elevation)]
        )
        return np.stack([right, np.cross(eye, right), eye])

    @property
    def colours(self) -> tuple[str, ...]:
        """Of each kind."""
        return (CELL, OUTSIDE) if len(self.labels) == 2 else (CELL, SHEATH, OUTSIDE)

    def kinds(self, compartments: np.ndarray) -> np.ndarray:
        """Return the kind of each compartment label: index into `labels` and `colours`."""
        last = int(compartments.max())
        per_kind = max(1, last // max(1, len(self.labels) - 1))
        return np.minimum(compartments // per_kind, max(0, len(self.labels) - 1))


def draw_mesh(axes: Axes, mesh: torrey.TetMesh, view: View) -> None:
    """Draw `mesh` with a bar of its scale, the directions of the axes and a legend of its compartments."""
    polygons, kinds = _visible(mesh, view)
    right, up, eye = view.basis
    normals = np.array([np.cross(p[1] - p[0], p[2] - p[0]) for p in polygons])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    facing = np.nonzero(normals @ eye > 0)[0]
    order = facing[np.argsort([float((polygons[k] @ eye).mean()) for k in facing])]
    light = eye + 0.6 * up - 0.45 * right
    shade = _AMBIENT + (1 - _AMBIENT) * (normals[order] @ (light / np.linalg.norm(light))).clip(0)
    colours = np.array([to_rgb(view.colours[k]) for k in kinds[order]]) * shade[:, None]
    flat = [polygons[k] @ np.stack([right, up], axis=1) for k in order]
    axes.add_collection(PolyCollection(flat, facecolors=colours, edgecolors=0.75 * colours, linewidths=0.3))
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.set_axis_off()
    _draw_scale(axes, np.concatenate(flat))
    _draw_axes(axes, view)
    axes.set_title(f"{mesh.n_vertices} vertices, {mesh.n_tets} tets")
    if view.labels:
        patches = [Patch(color=c, label=name) for c, name in zip(view.colours, view.labels, strict=True)]
        axes.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3)


def _visible(mesh: torrey.TetMesh, view: View) -> tuple[list[np.ndarray], np.ndarray]:
    """Return polygons (k, 3) that the eye may see, outwards counter-clockwise, and the kind of each."""
    x, tets = mesh.vertices.numpy(), mesh.tets.numpy()
    kinds = view.kinds(mesh.compartments.numpy())
    faces, owner = _boundary(tets)
    if view.cut is None:
        return list(x[faces]), kinds[owner]
    normal = np.array(view.cut) / np.linalg.norm(view.cut)
    # off the vertices that structured meshes have in the plane
    height = x @ normal - 1e-6 * np.ptp(x)
    polygons = [(_clipped(x[face], height[face]), kinds[k]) for face, k in zip(faces, owner, strict=True)]
    stays = view.whole & (kinds == 0)
    beyond = height[tets] > 0
    crossing = np.nonzero(beyond.any(1) & ~beyond.all(1) & ~stays)[0]
    polygons += [(_section(x[tets[k]], height[tets[k]], normal), kinds[k]) for k in crossing]
    if view.whole:
        polygons += [(x[face], 0) for face in _boundary(tets[stays])[0]]
    polygons = [(polygon, kind) for polygon, kind in polygons if len(polygon) > 2]
    return [polygon for polygon, _ in polygons], np.array([kind for _, kind in polygons])


def _boundary(tets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return outward triangles (F, 3) that belong to one of `tets` only, and the tet of each."""
    faces = tets[:, _FACES].reshape(-1, 3)
    _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    once = first[count == 1]
    return faces[once], once // 4


def _clipped(corners: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return the part (k, 3) of a triangle with `height` below zero, in the same sense of rotation."""
    points = []
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        h, i = height[k], height[(k + 1) % 3]
        if h <= 0:
            points.append(a)
        if (h <= 0) != (i <= 0):
            points.append(a + (b - a) * h / (h - i))
    return np.array(points).reshape(-1, 3)


def _section(corners: np.ndarray, height: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return the section (3 or 4, 3) of a tet with height zero, counter-clockwise about `normal`."""
    a, b = _EDGES[(height[_EDGES] > 0).sum(1) == 1].T
    share = (height[a] / (height[a] - height[b]))[:, None]
    points = corners[a] + share * (corners[b] - corners[a])
    arm = points - points.mean(0)
    angle = np.arctan2(arm @ np.cross(normal, arm[0]), arm @ arm[0])
    return points[np.argsort(angle)]


def _draw_scale(axes: Axes, points: np.ndarray) -> None:
    """Draw a bar of a round length, about a quarter of the picture."""
    (left, low), (right, high) = points.min(0), points.max(0)
    aim = max(right - left, high - low) / 4
    length = max(step for step in (1, 2, 5, 10, 20, 50, 100) if step <= max(aim, 1))
    y = low - 0.09 * (high - low)
    axes.plot([right - length, right], [y, y], color="black", linewidth=2, solid_capstyle="butt")
    axes.annotate(
        f"{length} µm", (right - length / 2, y), (0, -4), textcoords="offset points", ha="center", va="top"
    )


def _draw_axes(axes: Axes, view: View) -> None:
    """Draw the directions of x, y and z in the lower left corner."""
    for (name, colour), towards in zip(AXES.items(), view.basis[:2].T, strict=True):
        if np.linalg.norm(towards) < 0.15:
            continue
        tip = 22 * towards
        for text, place, arrow in (
            ("", tip, {"arrowstyle": "->", "color": colour, "lw": 1.4}),
            (name, 1.4 * tip, None),
        ):
            axes.annotate(
                text,
                (0.06, 0.06),
                place,
                xycoords="axes fraction",
                textcoords="offset points",
                arrowprops=arrow and {**arrow, "arrowstyle": "<-"},
                color=colour,
                ha="center",
                va="center",
            )

"""Cells of any shape, and balls, with the space around them, through fTetWild."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch

from ...errors import AccuracyWarning, InputError, MeshError
from ..surface import Surface, boundary_triangles
from ..templates import sphere
from ..tetmesh import TetMesh
from ..tetrahedralize import ENVELOPE, require_closed, run_ftetwild
from ..validate import require_valid
from .extracellular import Extracellular, box_surface
from .packing import Packing
from .winding import inside

_ENVELOPE_OF_EDGE = 1 / 50
"""How far walls may depart from the surfaces, over the wanted length of edges, and at most."""

_ENVELOPE_OF_GAP = 1 / 8
"""The same, over the smallest gap of a packing."""

_EXCESS = 0.185
"""How far the vertices of a ball of n layers lie outside the smooth one, over radius/n²."""

_EXCESS_OF_GAP = 1 / 5
"""How far they may, over the smallest gap of a packing."""

_PERCENT = 1.0
"""Departure of a volume that is warned of."""


def cells(surfaces: Sequence[Surface], *, edge_length: float, extracellular: Extracellular) -> TetMesh:
    """Return the insides of closed surfaces, which may be nested, and the space around them.

    Parameters
    ----------
    surfaces : sequence of n Surface
        Closed, manifold and consistently oriented, and apart from each other; µm. Walls depart from them by
        less than edge_length/50, so they should not be closer than a few times that.
    edge_length : float
        Wanted length of edges, µm; shorter where surfaces ask for it.
    extracellular : BoxAround, HullAround or WrapAround
        Where the space around the cells ends.

    Returns
    -------
    TetMesh
        Compartment k is what surface k encloses less what surfaces within it do; the last, n, is the
        extracellular space. Compartments share their vertices where they touch.

    Raises
    ------
    MissingLibraryError
        When pytetwild is not installed.
    MeshError
        When a surface is open, non-manifold or inconsistently oriented, or the mesher fails.

    Warns
    -----
    AccuracyWarning
        When the volume of a compartment departs by more than 1 % from that between its surfaces.
    """
    _require_length("cells", edge_length)
    if not surfaces:
        raise InputError("cells: expected at least one surface, got none")
    for k, surface in enumerate(surfaces):
        require_closed(surface, name=f"cells: surface {k}")
    walls = [Surface(s.vertices.detach().cpu().double(), s.triangles.cpu()) for s in surfaces]
    walls.append(extracellular.surface(walls, edge_length))
    mesh = _meshed("cells", walls, edge_length, _ENVELOPE_OF_EDGE * edge_length)
    require_valid(mesh, name="cells")
    _warn_of_volumes(mesh, walls)
    return mesh


def spheres(packing: Packing, *, edge_length: float, extracellular: Extracellular | None = None) -> TetMesh:
    """Return the balls of `packing` and the space around them.

    Walls of a ball have their vertices on one sphere, and every ball has exactly the volume of the smooth
    one, as has the cube around them.

    Parameters
    ----------
    packing : Packing
        n balls in a cube.
    edge_length : float
        Wanted length of edges, µm; shorter in narrow gaps and on balls of less than three times this radius.
    extracellular : BoxAround, HullAround or WrapAround, optional
        Where the space around the balls ends; at the cube of the packing where not given.

    Returns
    -------
    TetMesh
        Compartments 0 … n − 1 are the balls, in the order of the packing, and n is the extracellular space.

    Raises
    ------
    MissingLibraryError
        When pytetwild is not installed.
    InputError
        When the length is not positive, or the packing is one of discs.
    MeshError
        When the mesher fails.
    """
    _require_length("spheres", edge_length)
    if packing.centres.shape[1] != 3:
        raise InputError("spheres: expected a packing of balls in a cube, got one of discs in a square")
    walls = []
    for centre, radius in zip(packing.centres, packing.radii.tolist(), strict=True):
        layers = max(3, radius / edge_length, math.sqrt(_EXCESS * radius / (_EXCESS_OF_GAP * packing.gap)))
        ball = sphere(radius, resolution=math.ceil(layers)).surface
        walls.append(Surface(ball.vertices + centre, ball.triangles))
    half = np.full(3, packing.side / 2)
    walls.append(
        box_surface(-half, half) if extracellular is None else extracellular.surface(walls, edge_length)
    )
    envelope = min(_ENVELOPE_OF_EDGE * edge_length, _ENVELOPE_OF_GAP * packing.gap)
    mesh = _rounded(_meshed("spheres", walls, edge_length, envelope), packing)
    require_valid(mesh, name="spheres")
    return mesh


def _meshed(name: str, walls: Sequence[Surface], edge_length: float, envelope: float) -> TetMesh:
    """Return the tets inside the last of `walls`, labelled by the innermost of them that each lies in."""
    first = np.cumsum([0] + [len(wall.vertices) for wall in walls])
    vertices = np.concatenate([wall.vertices.numpy() for wall in walls])
    triangles = np.concatenate([wall.triangles.numpy() + k for wall, k in zip(walls, first, strict=False)])
    lower, upper = vertices.min(0), vertices.max(0)
    share = min(ENVELOPE, envelope / float(np.linalg.norm(upper - lower)))
    points, tets = run_ftetwild(vertices, triangles, edge_length, envelope=share, everywhere=True)
    middle = points[tets].mean(1)
    region = np.full(len(tets), -1)
    for k in _outermost_first(walls):
        region[inside(walls[k], middle)] = k
    missing = sorted(set(range(len(walls))) - set(region.tolist()))
    if missing:
        raise MeshError(
            f"{name}: no tets in compartment {missing[0]}, expected some: a smaller edge_length, and "
            "surfaces apart from each other"
        )
    used, compact = np.unique(tets[region >= 0], return_inverse=True)
    points = points[used]
    # a box is met to rounding, not to the envelope
    for end in (lower, upper):
        points = np.where(np.abs(points - end) < share * np.linalg.norm(upper - lower), end, points)
    return TetMesh(points, torch.from_numpy(compact.reshape(-1, 4)), torch.from_numpy(region[region >= 0]))


def _outermost_first(walls: Sequence[Surface]) -> list[int]:
    return sorted(range(len(walls)), key=lambda k: -float(walls[k].enclosed_volume))


def _rounded(mesh: TetMesh, packing: Packing) -> TetMesh:
    """Return `mesh` with the walls of each ball on a sphere, so wide that its volume is that of the ball."""
    vertices = mesh.vertices.clone()
    for k, (centre, radius) in enumerate(zip(packing.centres, packing.radii.tolist(), strict=True)):
        triangles = boundary_triangles(mesh.tets[mesh.compartments == k])
        wall = torch.unique(triangles)
        vertices[wall] = torch.nn.functional.normalize(vertices[wall] - centre, dim=1)
        share = float(Surface(vertices, triangles).enclosed_volume) / (4 / 3 * math.pi)
        vertices[wall] = centre + radius * share ** (-1 / 3) * vertices[wall]
    return mesh.with_vertices(vertices)


def _warn_of_volumes(mesh: TetMesh, walls: Sequence[Surface]) -> None:
    volumes = torch.zeros(len(walls), dtype=torch.float64).index_add_(0, mesh.compartments, mesh.volumes)
    enclosed = torch.stack([wall.enclosed_volume for wall in walls])
    expected = enclosed.clone()
    order = _outermost_first(walls)
    for place, k in enumerate(order):
        around = [j for j in order[:place] if inside(walls[j], walls[k].vertices[:1].numpy())[0]]
        if around:
            expected[around[-1]] -= enclosed[k]
    deviation = 100 * (volumes / expected - 1)
    worst = int(deviation.abs().argmax())
    if float(deviation[worst].abs()) > _PERCENT:
        warnings.warn(
            f"cells: the volume of compartment {worst} departs by {float(deviation[worst]):+.1f} % from "
            f"the {float(expected[worst]):.4g} µm³ between its surfaces; ask for a smaller edge_length, and "
            "look for surfaces that cross",
            AccuracyWarning,
            stacklevel=3,
        )


def _require_length(name: str, edge_length: float) -> None:
    if not (edge_length > 0 and math.isfinite(edge_length)):
        raise InputError(f"{name}: edge_length is {edge_length}, expected a positive number of µm")

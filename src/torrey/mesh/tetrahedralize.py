"""Fill a closed surface with tetrahedra, through fTetWild.

Hu, Schneider, Wang, Zorin and Panozzo, ACM Trans. Graph. 39, 117 (2020).
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import tempfile
import warnings
from importlib.machinery import PathFinder
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ..errors import AccuracyWarning, InputError, MeshError, MissingLibraryError
from .faces import same_rows
from .surface import Surface
from .surface_files import open_edges, triangle_edges
from .tetmesh import TetMesh
from .validate import require_valid

ENVELOPE = 1e-3
"""How far the boundary may depart from the surface, as a fraction of the bounding-box diagonal."""


def tetrahedralize(surface: Surface, *, edge_length: float | None = None) -> TetMesh:
    """Return a tetrahedral mesh of the inside of a closed `surface`.

    The working directory of the process is another one while the mesher runs, which matters to other threads
    only.

    Parameters
    ----------
    surface : Surface
        Closed, manifold and consistently oriented; µm.
    edge_length : float, optional
        Wanted length of edges, µm; a twentieth of the bounding-box diagonal where not given. Edges come out
        about as long or shorter: the mesher stops when tets are well-shaped and does not coarsen beyond that.

    Raises
    ------
    MissingLibraryError
        When pytetwild is not installed.
    MeshError
        When the surface is open, non-manifold or inconsistently oriented, or the mesher fails.

    Warns
    -----
    AccuracyWarning
        When the volume departs from the one the surface encloses by more than 1 %.
    """
    if edge_length is not None and not (edge_length > 0 and math.isfinite(edge_length)):
        raise InputError(f"tetrahedralize: edge_length is {edge_length}, expected a positive number of µm")
    require_closed(surface)
    vertices = surface.vertices.detach().cpu().double()
    points, tets = run_ftetwild(vertices.numpy(), surface.triangles.cpu().numpy(), edge_length)
    if len(tets) == 0:
        raise MeshError(
            f"tetrahedralize: no tets inside the {len(surface.triangles)} triangles, expected some"
        )
    used, compact = np.unique(tets, return_inverse=True)
    mesh = TetMesh(torch.as_tensor(points[used]), torch.as_tensor(compact.reshape(-1, 4).astype(np.int64)))
    require_valid(mesh, name="tetrahedralize")
    expected = float(Surface(vertices, surface.triangles.cpu()).enclosed_volume)
    deviation = float(mesh.volume) / expected - 1
    if abs(deviation) > 0.01:
        warnings.warn(
            f"tetrahedralize: the volume departs by {100 * deviation:+.1f} % from the {expected:.4g} µm³ "
            "that the surface encloses; ask for a smaller edge_length, and look for self-intersections",
            AccuracyWarning,
            stacklevel=2,
        )
    return mesh


def require_closed(surface: Surface, *, name: str = "surface") -> None:
    """Raise a one-line `MeshError` where `surface` does not enclose a volume with its triangles outwards."""
    triangles = surface.triangles.cpu()
    edges = triangle_edges(triangles)
    number, counts = same_rows(edges)
    _refuse(edges[counts[number] > 2], name, "is non-manifold", "more than two triangles")
    _refuse(open_edges(triangles), name, "is open", "one triangle only; close its holes first")
    forward = edges[:, 0] < edges[:, 1]
    balance = torch.zeros(len(counts), dtype=torch.long).index_add_(0, number, 2 * forward.long() - 1)
    _refuse(
        edges[balance[number] != 0],
        name,
        "is inconsistently oriented",
        "two triangles that run along it alike",
    )
    volume = float(surface.enclosed_volume.detach())
    if not volume > 0:
        raise MeshError(f"{name}: encloses {volume:.3g} µm³, expected a positive volume (triangles outwards)")


def _refuse(edges: Tensor, name: str, what: str, why: str) -> None:
    if len(edges):
        n = len(torch.unique(edges.sort(dim=1).values, dim=0))
        first = f"{int(edges[0, 0])} {int(edges[0, 1])}"
        raise MeshError(f"{name}: {what}: {n} edge(s) (first: vertices {first}) with {why}")


def run_ftetwild(
    vertices: np.ndarray,
    triangles: np.ndarray,
    edge_length: float | None,
    *,
    envelope: float = ENVELOPE,
    everywhere: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return points (V, 3) and tets (T, 4), of either orientation, inside the surface of `triangles` (F, 3).

    The boundary departs from the surface by less than `envelope`, a fraction of the bounding-box diagonal.
    With `everywhere` the tets around the surface are returned too, and the surface may have several parts,
    which all remain.
    """
    arguments = {
        "optimize": True,
        "skip_simplify": False,
        "edge_length_over_diagonal": 0.05,
        "edge_length": edge_length or 0.0,  # zero: the line above holds
        "envelope_over_diagonal": envelope,
        "stop_energy": 10.0,
        "coarsen": False,
        "num_threads": 1,
        "num_opt_iter": 80,
        "loglevel": 6,
        "quiet": True,
        "vtk_ordering": False,
        "disable_filtering": everywhere,
        "sizing_vertices": np.empty((0, 3)),
        "sizing_tets": np.empty((0, 4), dtype=np.int32),
        "sizing_values": np.empty(0),
    }
    mesher = _mesher()
    # fTetWild leaves a file __tracked_surface.stl in the working directory
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        # the compiled function takes positions only
        points, tets = mesher.tetrahedralize_mesh(vertices, triangles.astype(np.uint32), *arguments.values())
    return points, tets


def _mesher() -> ModuleType:
    """Return pytetwild's compiled module.

    It is loaded by itself because pytetwild 0.4 imports PyVista, and with it VTK, for plots that Torrey does
    not make and that its metadata calls optional.
    """
    package = importlib.util.find_spec("pytetwild")
    places = package.submodule_search_locations if package else None
    spec = PathFinder.find_spec("PyfTetWildWrapper", places) if places else None
    if spec is None or spec.loader is None:
        raise MissingLibraryError('tetrahedralize needs pytetwild: pip install "torrey[mesh]"')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

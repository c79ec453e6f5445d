"""`torrey mesh`: make, convert, check and repair meshes; a thin layer over `torrey.mesh`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App

from ..terminal import Output, working

if TYPE_CHECKING:
    from ..mesh import TetMesh

mesh_app = App(name="mesh", help="Make, convert, check and repair meshes. Lengths are µm.")


@mesh_app.command
def check(file: Path, /) -> None:
    """Say what a mesh or a surface holds, or what makes it unfit for simulation.

    Parameters
    ----------
    file
        Tetrahedral mesh or surface, µm.
    """
    from ..mesh import read_mesh, read_surface, summarise, summarise_surface

    with working(f"checking {file}"):
        if _is_surface(file):
            text = str(summarise_surface(read_surface(file), name=str(file)))
        else:
            text = str(summarise(read_mesh(file), name=str(file)))
    print(f"{file}\n{text}")


@mesh_app.command
def convert(file: Path, /, *, output: Output) -> None:
    """Write a mesh in another format; a tetrahedral one as .ply, .stl, .obj or .off gives its outer boundary.

    Parameters
    ----------
    file
        Tetrahedral mesh or surface, µm.
    output
        File to write, of the format of its extension.
    """
    from ..mesh import read_mesh, read_surface, write_surface

    if not _is_surface(file):
        _check(output, file)
        _write(read_mesh(file), output)
        return
    _check(output, file, surface=True)
    surface = read_surface(file)
    write_surface(surface, output)
    print(f"{output}: {len(surface.vertices)} vertices, {len(surface.triangles)} triangles")


@mesh_app.command
def fill(surface: Path, /, *, output: Output, edge_length: float | None = None, repair: bool = False) -> None:
    """Fill a closed surface with tetrahedra (extra mesh).

    Parameters
    ----------
    surface
        .ply, .stl, .obj or .off, µm.
    output
        Tetrahedral mesh to write.
    edge_length
        Wanted length of edges, µm; a twentieth of the diagonal of the bounding box by default.
    repair
        Mend the surface first, as `torrey mesh repair` does.
    """
    _check(output, surface)
    from ..mesh import read_surface, tetrahedralize
    from ..mesh import repair as repaired
    from ..mesh.tetrahedralize import require_closed

    found, report = read_surface(surface), None
    with working(f"filling {len(found.triangles)} triangles"):
        if repair:
            found, report = repaired(found)
        require_closed(found, name=str(surface))
        mesh = tetrahedralize(found, edge_length=edge_length)
    if report is not None:
        print(report)
    _write(mesh, output)


@mesh_app.command
def repair(
    surface: Path,
    /,
    *,
    output: Output,
    keep: Literal["largest", "all"] = "largest",
    edge_length: float | None = None,
    triangles: int | None = None,
) -> None:
    """Close, orient and simplify a surface, and say what was changed (extra repair).

    Parameters
    ----------
    surface
        .ply, .stl, .obj or .off, µm.
    output
        Surface to write.
    keep
        The largest part, or all of them.
    edge_length
        Simplify to triangles of about this edge, µm.
    triangles
        Simplify to this many triangles.
    """
    _check(output, surface, surface=True)
    from ..mesh import read_surface, write_surface
    from ..mesh import repair as repaired

    found = read_surface(surface)
    with working(f"repairing {len(found.triangles)} triangles"):
        mended, report = repaired(found, keep=keep, edge_length=edge_length, n_triangles=triangles)
    write_surface(mended, output)
    print(report)
    print(f"{output}: {len(mended.vertices)} vertices, {len(mended.triangles)} triangles")


@mesh_app.command
def neuron(
    tree: Path, /, *, output: Output, edge_length: float | None = None, edge_over_radius: float = 0.8
) -> None:
    """Mesh a traced neuron.

    Parameters
    ----------
    tree
        .swc, µm.
    output
        Tetrahedral mesh to write.
    edge_length
        Most that edges are long, about, µm.
    edge_over_radius
        Most that edges are long, about, over the radius of their branch; up to 1.
    """
    _check(output, tree)
    from ..mesh import neuron_mesh, read_swc

    morphology = read_swc(tree)
    with working(f"meshing {morphology.n_nodes} nodes"):
        mesh = neuron_mesh(morphology, edge_length=edge_length, edge_over_radius=edge_over_radius)
    _write(mesh, output)


@mesh_app.command
def sphere(*, radius: float, output: Output, resolution: int = 4) -> None:
    """Make a ball.

    Parameters
    ----------
    radius
        µm.
    output
        Tetrahedral mesh to write.
    resolution
        Layers between centre and surface.
    """
    _check(output)
    from .. import mesh

    _write(mesh.sphere(radius, resolution=resolution), output)


@mesh_app.command
def cylinder(*, radius: float, length: float, output: Output, rings: int = 4, layers: int = 8) -> None:
    """Make a cylinder along z.

    Parameters
    ----------
    radius, length
        µm.
    output
        Tetrahedral mesh to write.
    rings
        Rings of vertices around the axis.
    layers
        Layers of cells along z.
    """
    _check(output)
    from .. import mesh

    _write(mesh.cylinder(radius, length, n_rings=rings, n_layers=layers), output)


@mesh_app.command
def box(
    *, lengths: tuple[float, float, float], output: Output, cells: tuple[int, int, int] = (4, 4, 4)
) -> None:
    """Make a box.

    Parameters
    ----------
    lengths
        Along x, y and z, µm.
    output
        Tetrahedral mesh to write.
    cells
        Their number along x, y and z.
    """
    _check(output)
    from .. import mesh

    _write(mesh.box(lengths, cells), output)


def _is_surface(file: Path) -> bool:
    from ..mesh.surface_files import SURFACE_SUFFIXES

    return file.suffix.lower() in SURFACE_SUFFIXES


def _check(output: Path, *inputs: Path, surface: bool = False) -> None:
    """Refuse an output that cannot be written, before work is spent."""
    from ..mesh.files import WRITTEN_SUFFIXES
    from ..mesh.surface_files import SURFACE_SUFFIXES
    from ..mesh.tetgen import tetgen_pair
    from ..report.files import check_output_file

    pairs = [item for file in inputs for item in (file, *tetgen_pair(file))]
    written = tetgen_pair(output) if output.suffix in (".node", ".ele") else (output,)
    for file in written:
        check_output_file(file, kinds=SURFACE_SUFFIXES if surface else WRITTEN_SUFFIXES, inputs=pairs)


def _write(mesh: TetMesh, output: Path) -> None:
    from ..mesh import write_mesh

    write_mesh(mesh, output)
    print(
        f"{output}: {mesh.n_vertices} vertices, {mesh.n_tets} tets, "
        f"{mesh.n_compartments} compartment(s), {float(mesh.volume):.4g} µm³"
    )

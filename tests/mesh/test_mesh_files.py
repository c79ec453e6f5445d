import importlib.util

import meshio
import numpy as np
import pytest
import torch
from mesh_shapes import SPINDOCTOR_MESHES, cube_arrays

from torrey.errors import FileError, MeshError
from torrey.mesh import Surface, TetMesh, read_mesh, read_surface, sphere, write_mesh, write_surface


def two_compartments():
    points, tets = cube_arrays(2)
    return TetMesh(points * 1.2345678901234, tets, (points[tets].mean(1)[:, 2] > 1.5).long())


@pytest.mark.parametrize("suffix", [".vtu", ".vtk", ".msh", ".mesh", ".meshb", ".node", ".ele"])
def test_a_mesh_comes_back_as_it_was_written(tmp_path, suffix, capfd):
    mesh = two_compartments()
    write_mesh(mesh, tmp_path / f"cell{suffix}")
    again = read_mesh(tmp_path / f"cell{suffix}")
    # text formats of meshio keep 16 significant digits
    assert torch.allclose(again.vertices, mesh.vertices, rtol=1e-15, atol=0)
    assert torch.equal(again.tets, mesh.tets)
    assert torch.equal(again.compartments, mesh.compartments)
    assert capfd.readouterr() == ("", "")


XDMF = """<Xdmf Version="3.0"><Domain><Grid Name="Grid">
<Geometry GeometryType="XYZ"><DataItem DataType="Float" Dimensions="5 3" Format="XML" Precision="8">
0 0 0 3 0 0 0 3 0 0 0 3 3 3 3</DataItem></Geometry>
<Topology TopologyType="Tetrahedron" NumberOfElements="2">
<DataItem DataType="Int" Dimensions="2 4" Format="XML" Precision="8">0 1 2 3 1 2 3 4</DataItem></Topology>
<Attribute Name="compartment" AttributeType="Scalar" Center="Cell">
<DataItem DataType="Int" Dimensions="2" Format="XML" Precision="8">4 2</DataItem></Attribute>
</Grid></Domain></Xdmf>
"""


def test_xdmf_is_read_where_h5py_is_there_and_named_where_it_is_not(tmp_path):
    (tmp_path / "cell.xdmf").write_text(XDMF)
    if importlib.util.find_spec("h5py") is None:
        with pytest.raises(FileError, match=r"needs the library h5py.*pip install h5py"):
            read_mesh(tmp_path / "cell.xdmf")
        return
    mesh = read_mesh(tmp_path / "cell.xdmf")
    assert sorted(mesh.volumes.tolist()) == pytest.approx([4.5, 9])
    assert mesh.compartments.tolist() == [1, 0]


@pytest.mark.parametrize("suffix", [".inp", ".avs", ".su2", ".f3grid"])
def test_formats_without_labels_keep_one_compartment_and_refuse_two(tmp_path, suffix):
    mesh = sphere(5.0, resolution=2)
    write_mesh(mesh, tmp_path / f"ball{suffix}")
    again = read_mesh(tmp_path / f"ball{suffix}")
    assert float(again.volume) == pytest.approx(float(mesh.volume), rel=1e-12)  # text of 16 digits
    with pytest.raises(FileError, match="cannot hold the 2 compartments"):
        write_mesh(two_compartments(), tmp_path / f"two{suffix}")
    assert not (tmp_path / f"two{suffix}").exists()


def test_writing_overwrites_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "cell.vtu"
    write_mesh(sphere(5.0, resolution=1), path)
    write_mesh(sphere(5.0, resolution=2), str(path))
    assert read_mesh(path).n_tets == 160
    assert [p.name for p in tmp_path.iterdir()] == ["cell.vtu"]


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".obj", ".off"])
def test_a_surface_comes_back_as_it_was_written(tmp_path, suffix):
    mesh = sphere(5.0, resolution=3)
    write_mesh(mesh, tmp_path / f"ball{suffix}")
    surface = read_surface(tmp_path / f"ball{suffix}")
    assert len(surface.triangles) == len(mesh.boundary)
    assert len(surface.vertices) == len(mesh.surface.vertices)
    # .stl text keeps all digits, but its vertices are merged only where equal
    assert float(surface.enclosed_volume) == pytest.approx(float(mesh.volume), rel=1e-9)


def test_an_inside_out_surface_is_turned(tmp_path):
    surface = sphere(5.0, resolution=2).surface
    write_surface(Surface(surface.vertices, surface.triangles.flip(1)), tmp_path / "ball.ply")
    assert float(read_surface(tmp_path / "ball.ply").enclosed_volume) == pytest.approx(
        float(surface.enclosed_volume), rel=1e-12
    )


def test_quadrilaterals_are_cut_in_two(tmp_path):
    corners = "v 0 0 0\nv 2 0 0\nv 2 2 0\nv 0 2 0\nv 0 0 2\nv 2 0 2\nv 2 2 2\nv 0 2 2\n"
    faces = "f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"
    (tmp_path / "cube.obj").write_text(corners + faces)
    surface = read_surface(tmp_path / "cube.obj")
    assert len(surface.triangles) == 12
    assert float(surface.enclosed_volume) == pytest.approx(8)


NODE_0 = "# a cell\n\n5 3 1 1\n0 0 0 0 7.5 1\n1 3 0 0 7.5 1  # corner\n2 0 3 0 7.5 0\n"
NODE_0 += "3 0 0 3 7.5 0\n4 3 3 3 7.5 0\n"
ELE_0 = "2 4 1\n0 0 1 2 3 10\n# between\n1 1 2 3 4 -2\n"
NODE_1 = "5 3 0 0\n1 0 0 0\n2 3 0 0\n3 0 3 0\n4 0 0 3\n5 3 3 3\n# end\n"
ELE_1 = "2 4 1\n1 1 2 3 4 10\n2 2 3 4 5 -2\n"


@pytest.mark.parametrize(("node", "ele"), [(NODE_0, ELE_0), (NODE_1, ELE_1)])
@pytest.mark.parametrize("name", ["cell.node", "cell.ele", "cell"])
def test_tetgen_pairs_from_zero_or_one_with_comments(tmp_path, node, ele, name):
    (tmp_path / "cell.node").write_text(node)
    (tmp_path / "cell.ele").write_text(ele)
    mesh = read_mesh(tmp_path / name)
    assert sorted(mesh.volumes.tolist()) == pytest.approx([4.5, 9])  # 27/6 and 2·27/6
    assert mesh.compartments.tolist() == [1, 0]
    assert mesh.vertices[4].tolist() == [3, 3, 3]


def test_a_stem_with_a_dot_is_not_cut(tmp_path):
    (tmp_path / "cell.1.node").write_text(NODE_1)
    (tmp_path / "cell.1.ele").write_text(ELE_1)
    assert read_mesh(tmp_path / "cell.1").n_tets == 2
    assert read_mesh(tmp_path / "cell.1.ele").n_tets == 2


def test_unused_vertices_are_left_out_and_other_cells_ignored(tmp_path):
    points, tets = cube_arrays(1)
    points = np.concatenate([[[9.0, 9, 9]], points.numpy()])
    cells = [("triangle", [[1, 2, 3]]), ("tetra", tets.numpy() + 1), ("line", [[0, 1]])]
    meshio.Mesh(points, cells).write(tmp_path / "cell.vtu")
    mesh = read_mesh(tmp_path / "cell.vtu")
    assert (mesh.n_vertices, mesh.n_tets) == (8, 6)


def tetra10(shift=0.0):
    points, tets = cube_arrays(1)
    points, corners = points.numpy(), tets.numpy()
    cells, number = [], {}
    extra = []
    for tet in corners:
        row = list(tet)
        for i, j in ((0, 1), (1, 2), (0, 2), (0, 3), (1, 3), (2, 3)):
            edge = tuple(sorted((tet[i], tet[j])))
            if edge not in number:
                number[edge] = len(points) + len(extra)
                extra.append((points[tet[i]] + points[tet[j]]) / 2 + shift * (len(extra) == 0))
            row.append(number[edge])
        cells.append(row)
    return np.concatenate([points, extra]), np.array(cells)


def test_straight_second_order_tets_keep_their_corners(tmp_path):
    points, cells = tetra10()
    meshio.Mesh(points, [("tetra10", cells)]).write(tmp_path / "cell.vtu")
    mesh = read_mesh(tmp_path / "cell.vtu")
    assert (mesh.n_vertices, mesh.n_tets) == (8, 6)
    assert float(mesh.volume) == pytest.approx(27)


@pytest.mark.parametrize("name", ["compartment", "medit:ref", "attribute", "label"])
def test_compartments_are_read_from_common_names_and_renumbered(tmp_path, name):
    points, tets = cube_arrays(1)
    meshio.Mesh(
        points.numpy(),
        [("tetra", tets.numpy())],
        cell_data={name: [np.array([7, 7, 9, 3, 7, 3])], "other": [np.zeros(6)]},
    ).write(tmp_path / "cell.vtu")
    assert read_mesh(tmp_path / "cell.vtu").compartments.tolist() == [1, 1, 2, 0, 1, 0]


def test_mixed_corner_order_in_a_file_is_mended(tmp_path):
    tets = np.random.default_rng(0).permuted(SPINDOCTOR_MESHES["cylinder_tets"], axis=1)
    meshio.Mesh(SPINDOCTOR_MESHES["bent_twisted"], [("tetra", tets)]).write(tmp_path / "cell.vtu")
    assert (read_mesh(tmp_path / "cell.vtu").volumes > 0).all()


def write_arrays(path, points, cells, kind="tetra"):
    meshio.Mesh(np.asarray(points, dtype=float), [(kind, np.asarray(cells))]).write(path)


def cube():
    points, tets = cube_arrays(2)
    return points.numpy().copy(), tets.numpy().copy()


def truncated(suffix, fraction=0.6):
    def make(path):
        path = path.with_suffix(suffix)
        write_mesh(sphere(5.0, resolution=3), path)
        data = path.read_bytes()
        path.write_bytes(data[: int(fraction * len(data))])
        return path

    return make


def named(suffix, content):
    def make(path):
        path = path.with_suffix(suffix)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def tetgen(node, ele):
    def make(path):
        named(".node", node)(path)
        return named(".ele", ele)(path)

    return make


def arrays(change, kind="tetra"):
    def make(path):
        points, cells = change(*cube())
        write_arrays(path, points, cells, kind)
        return path

    return make


def folder(path):
    path.mkdir()
    return path


def with_nan(points, tets):
    points[5, 1] = np.nan
    return points, tets


def with_missing_vertex(points, tets):
    tets[3, 2] = 99
    return points, tets


def folded(points, tets):
    return SPINDOCTOR_MESHES["folded"], SPINDOCTOR_MESHES["cylinder_tets"]


def doubled(points, tets):
    return points, np.concatenate([tets, tets[:1]])


def apart(points, tets):
    return np.concatenate([points, points + 10]), np.concatenate([tets, tets + len(points)])


def flat(points, tets):
    return points * [1, 1, 0], tets


def closed_surface(path):
    surface = sphere(5.0, resolution=2).surface
    write_arrays(path, surface.vertices.numpy(), surface.triangles.numpy(), "triangle")
    return path


def open_surface(path):
    surface = sphere(5.0, resolution=2).surface
    write_arrays(path, surface.vertices.numpy(), surface.triangles.numpy()[1:], "triangle")
    return path


def curved(path):
    points, cells = tetra10(shift=0.3)
    write_arrays(path, points, cells, "tetra10")
    return path


def node_only(path):
    return named(".node", NODE_0)(path)


JUNK = np.random.default_rng(0).bytes(5000)


def junk_node(path):
    named(".node", JUNK)(path)
    return named(".ele", ELE_0)(path)


BAD_FILES = {
    "missing": (lambda path: path, FileError, "does not exist"),
    "missing tetgen": (lambda path: path.with_suffix(".ele"), FileError, "does not exist"),
    "missing stem": (lambda path: path.with_suffix(""), FileError, "does not exist"),
    "empty vtu": (named(".vtu", ""), FileError, "is empty"),
    "empty msh": (named(".msh", ""), FileError, "is empty"),
    "empty node": (tetgen("", ELE_0), FileError, r"\.node: is empty"),
    "comments only": (tetgen("# nothing\n", ELE_0), FileError, r"\.node: is empty"),
    "folder": (folder, FileError, "is a folder"),
    "unknown extension": (named(".docx", "hello"), FileError, "extension .docx is not known"),
    "no extension": (named("", "hello"), FileError, "extension (none) is not known"),
    "text": (named(".vtu", "hello\n"), FileError, "damaged or not a .vtu file"),
    "text as msh": (named(".msh", "hello\n"), FileError, "damaged or not a .msh file"),
    "junk vtu": (named(".vtu", JUNK), FileError, "damaged or not a .vtu file"),
    "junk vtk": (named(".vtk", JUNK), FileError, "damaged or not a .vtk file"),
    "junk msh": (named(".msh", JUNK), FileError, "damaged or not a .msh file"),
    "junk mesh": (named(".mesh", JUNK), FileError, "damaged or not a .mesh file"),
    "junk meshb": (named(".meshb", JUNK), FileError, "damaged or not a .meshb file"),
    "junk node": (junk_node, FileError, "is a binary file"),
    "truncated vtu": (truncated(".vtu"), FileError, "damaged"),
    "truncated vtk": (truncated(".vtk"), FileError, "damaged"),
    "truncated msh": (truncated(".msh"), FileError, "damaged"),
    "truncated mesh": (truncated(".mesh"), FileError, "damaged"),
    "truncated xdmf": (named(".xdmf", XDMF[:400]), FileError, "damaged"),
    "xdmf without its numbers": (named(".xdmf", XDMF.replace('"XML"', '"HDF"')), FileError, "cell.xdmf: "),
    "truncated ele": (truncated(".ele"), FileError, "rows, expected 540 as its header says"),
    "half a pair": (node_only, FileError, r"\.ele: does not exist"),
    "two dimensions": (tetgen("1 2 0 0\n0 0 0\n", ELE_0), FileError, "dimension 2, expected 3"),
    "ragged rows": (
        tetgen(NODE_0.replace("2 0 3 0 7.5 0", "2 0 3 0"), ELE_0),
        FileError,
        "line 6 has 4 columns",
    ),
    "words": (
        tetgen(NODE_0.replace("2 0 3 0 7.5 0", "2 0 x 0 7.5 0"), ELE_0),
        FileError,
        "line 6 .* not a number",
    ),
    "numbered from 5": (tetgen("1 3 0 0\n5 0 0 0\n", ELE_0), FileError, "numbered 5, expected 0 or 1"),
    "skipped number": (
        tetgen(NODE_1.replace("4 0 0 3", "6 0 0 3"), ELE_1),
        FileError,
        "numbered 6, expected 4",
    ),
    "six corners": (tetgen(NODE_1, "1 6 0\n1 1 2 3 4 5 5\n"), FileError, "6 nodes per tet, expected 4 or 10"),
    "tetgen missing vertex": (
        tetgen(NODE_1, ELE_1.replace("2 3 4 5", "2 3 4 6")),
        MeshError,
        "tet 2 names node 6, expected 1 … 5",
    ),
    "missing vertex": (arrays(with_missing_vertex), MeshError, "tet 3 names vertex 99, expected 0 … 26"),
    "nan": (arrays(with_nan), MeshError, "vertex 5 .* expected finite"),
    "inverted": (arrays(folded), MeshError, "6 of 1131 tets inverted"),
    "flat": (arrays(flat), MeshError, "48 of 48 tets degenerate"),
    "tet twice": (arrays(doubled), MeshError, "shared by more than two tets"),
    "apart": (arrays(apart), MeshError, "2 parts that share no face, expected 1"),
    "metres": (
        arrays(lambda points, tets: (points * 1e-6, tets)),
        MeshError,
        "extent is 3e-06, expected .* µm",
    ),
    "millimetres": (
        arrays(lambda points, tets: (points * 1e-3, tets)),
        MeshError,
        "extent is 0.003, expected .* µm",
    ),
    "picometres": (
        arrays(lambda points, tets: (points * 1e6, tets)),
        MeshError,
        r"extent is 3e\+06, expected .* µm",
    ),
    "closed surface": (
        closed_surface,
        MeshError,
        "closed surface of 80 triangles .* torrey.mesh.tetrahedralize",
    ),
    "open surface": (open_surface, MeshError, "open surface of 79 triangles"),
    "hexahedra": (
        arrays(lambda points, tets: (points, [[0, 1, 4, 3, 9, 10, 13, 12]]), "hexahedron"),
        MeshError,
        "hexahedron cells",
    ),
    "lines": (arrays(lambda points, tets: (points, [[0, 1]]), "line"), MeshError, r"no tetrahedra \(line\)"),
    "curved": (curved, MeshError, "second-order tets are curved"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_gets_one_line_that_names_it(tmp_path, name, capfd):
    make, error, words = BAD_FILES[name]
    path = make(tmp_path / "cell.vtu")
    with pytest.raises(error, match=words.replace("(none)", r"\(none\)")) as caught:
        read_mesh(path)
    message = str(caught.value)
    assert str(tmp_path / "cell") in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_every_truncation_of_a_file_is_refused_quickly(tmp_path):
    for suffix in (".vtu", ".vtk", ".msh", ".mesh", ".meshb", ".node"):
        for fraction in np.linspace(0.02, 0.9, 12):
            path = truncated(suffix, fraction)(tmp_path / "cell")
            with pytest.raises((FileError, MeshError)):
                read_mesh(path)


BAD_SURFACES = {
    "missing": (lambda path: path, FileError, "does not exist"),
    "junk": (named(".ply", JUNK), FileError, "damaged"),
    "no triangles": (named(".obj", "v 0 0 0\nv 1 0 0\n"), MeshError, "no triangles"),
    "nan": (named(".obj", "v 0 0 0\nv 1 0 nan\nv 0 1 0\nf 1 2 3\n"), MeshError, "vertex 1"),
    "missing vertex": (named(".obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n"), MeshError, "names vertices"),
}


@pytest.mark.parametrize("name", BAD_SURFACES)
def test_a_bad_surface_file_gets_one_line(tmp_path, name):
    make, error, words = BAD_SURFACES[name]
    with pytest.raises(error, match=words) as caught:
        read_surface(make(tmp_path / "cell.ply"))
    assert "\n" not in str(caught.value)


BAD_TARGETS = {
    "no folder": ("nowhere/cell.vtu", "nowhere does not exist"),
    "file as folder": ("file/cell.vtu", "file does not exist"),
    "is a folder": ("folder.vtu", "is a folder"),
    "unknown extension": ("cell.docx", "extension .docx is not known"),
    "surface format without folder": ("nowhere/cell.ply", "nowhere does not exist"),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    target, words = BAD_TARGETS[name]
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.vtu").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileError, match=words):
        write_mesh(sphere(5.0, resolution=1), tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_mesh_with_inverted_tets_is_not_written(tmp_path):
    mesh = TetMesh(SPINDOCTOR_MESHES["folded"], SPINDOCTOR_MESHES["cylinder_tets"])
    with pytest.raises(MeshError, match="6 of 1131 tets are inverted"):
        write_mesh(mesh, tmp_path / "cell.vtu")
    assert not list(tmp_path.iterdir())

import importlib.util
import math

import pytest

import bad_input_files as make
from torrey.cli import main
from torrey.mesh import box, neuron_mesh, read_mesh, read_surface, read_swc, sphere, sphere_in_box, write_mesh

needs_mesher = pytest.mark.skipif(
    importlib.util.find_spec("pytetwild") is None, reason="pytetwild is not installed"
)
needs_trimesh = pytest.mark.skipif(
    importlib.util.find_spec("trimesh") is None, reason="trimesh is not installed"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, content in make.GOOD.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    write_mesh(sphere_in_box(3.0, 9.0, resolution=3), tmp_path / "cell.vtu")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *argv):
    assert main(["mesh", *argv]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_check_says_what_a_mesh_of_two_compartments_holds(folder, capsys):
    lines = dict(line.split("  ", 1) for line in run(capsys, "check", "cell.vtu").splitlines()[1:-1])
    ball = 4 / 3 * math.pi * 27
    assert lines["compartment 0"].split()[0] == f"{ball:.5g}"
    assert lines["compartment 1"].split()[0] == f"{9**3 - ball:.5g}"
    assert lines["compartment 0"].split()[-2] == "0"
    assert lines["compartment 1"].split()[-2] == f"{6 * 81:.5g}"
    # flat triangles over 4π·9 = 113 µm²
    assert float(lines["interface 0-1"].split()[0]) == pytest.approx(113.1, rel=0.03)
    mesh = read_mesh("cell.vtu")
    assert (int(lines["vertices"]), int(lines["tets"])) == (mesh.n_vertices, mesh.n_tets)
    assert lines["quality"].split()[0] == f"{float(mesh.quality.min()):.3g}"


def test_check_says_what_a_surface_encloses(folder, capsys):
    out = run(capsys, "check", "cube.off")
    assert "encloses       64 µm³" in out
    assert "area           96 µm²" in out


def test_convert_keeps_the_mesh(folder, capsys):
    assert run(capsys, "convert", "cell.vtu", "-o", "cell.node").startswith("cell.node: ")
    before, after = read_mesh("cell.vtu"), read_mesh("cell.node")
    assert after.n_compartments == 2
    assert float(after.volume) == pytest.approx(float(before.volume), rel=1e-12)
    run(capsys, "convert", "cell.vtu", "-o", "cell.ply")
    assert float(read_surface("cell.ply").enclosed_volume) == pytest.approx(9**3, rel=1e-6)
    run(capsys, "convert", "cube.off", "-o", "cube.stl")
    assert float(read_surface("cube.stl").enclosed_volume) == pytest.approx(64, rel=1e-6)


@needs_mesher
@needs_trimesh
def test_fill_repairs_where_asked_and_says_so(folder, capsys):
    (folder / "open.off").write_text(make.cube_surface(5))
    assert main(["mesh", "fill", "open.off", "-o", "cube.vtu"]) == 2
    assert "is open" in capsys.readouterr().err
    out = run(capsys, "fill", "open.off", "-o", "cube.vtu", "--repair", "--edge-length", "2")
    assert "holes filled             1 (16 µm around)" in out
    # the mesher may move walls by a thousandth of the diagonal, 7 nm
    assert float(read_mesh("cube.vtu").volume) == pytest.approx(64, rel=0.01)


@needs_trimesh
def test_repair_writes_the_surface_and_the_report(folder, capsys):
    write_mesh(sphere(5.0, resolution=8), folder / "ball.stl")
    out = run(capsys, "repair", "ball.stl", "-o", "light.ply", "--triangles", "400")
    assert "triangles                1280 → 400" in out
    assert len(read_surface("light.ply").triangles) == 400


def test_neuron_writes_the_mesh_of_the_tree(folder, capsys):
    run(capsys, "neuron", "tree.swc", "-o", "tree.vtu", "--edge-over-radius", "1", "--edge-length", "1.5")
    expected = neuron_mesh(read_swc("tree.swc"), edge_over_radius=1.0, edge_length=1.5)
    assert float(read_mesh("tree.vtu").volume) == pytest.approx(float(expected.volume), rel=1e-9)


@pytest.mark.parametrize(
    ("argv", "volume", "n_vertices"),
    [
        (("sphere", "--radius", "5", "--resolution", "3"), 4 / 3 * math.pi * 125, 147),
        (("cylinder", "--radius", "2", "--length", "9", "--rings", "2", "--layers", "3"), math.pi * 36, 76),
        (("box", "--lengths", "1", "2", "3", "--cells", "1", "2", "3"), 6, 24),
    ],
)
def test_shapes_are_made(argv, volume, n_vertices, folder, capsys):
    run(capsys, *argv, "-o", "shape.vtu")
    mesh = read_mesh("shape.vtu")
    assert float(mesh.volume) == pytest.approx(volume, rel=1e-9)
    assert mesh.n_vertices == n_vertices


def test_nothing_is_left_of_a_mesh_that_fails(folder, capsys, monkeypatch):
    before = sorted(folder.iterdir())
    monkeypatch.setattr("torrey.mesh.write_mesh", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["mesh", "box", "--lengths", "1", "1", "1", "-o", "box.vtu"]) == 130
    assert capsys.readouterr().err == "torrey: interrupted, nothing written\n"
    assert sorted(folder.iterdir()) == before


def test_a_mesh_of_one_compartment_has_no_interface(folder, capsys):
    write_mesh(box((2.0, 2.0, 2.0), (1, 1, 1)), folder / "box.vtu")
    assert "interface" not in run(capsys, "check", "box.vtu")

import importlib.util
import warnings

import pytest
import torch

from torrey.errors import AccuracyWarning, InputError, MeshError, MissingLibraryError
from torrey.mesh import Surface, sphere, summarise_quality, tetrahedralize, validate

needs_mesher = pytest.mark.skipif(
    importlib.util.find_spec("pytetwild") is None, reason="pytetwild is not installed"
)


@needs_mesher
def test_a_sphere_surface_is_filled(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    surface = sphere(5.0, resolution=8).surface
    mesh = tetrahedralize(surface, edge_length=1.5)
    assert validate(mesh).ok
    # the mesher may move the boundary by a thousandth of the diagonal, 17 nm, and coarsens it
    assert float(mesh.volume) == pytest.approx(float(surface.enclosed_volume), rel=0.01)
    assert 0.7 < summarise_quality(mesh).mean_edge < 2.2
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


@needs_mesher
def test_edge_length_refines():
    surface = sphere(5.0, resolution=4).surface
    coarse, fine = (tetrahedralize(surface, edge_length=h) for h in (2.0, 0.7))
    # 23 times as many by volume, were the coarse one as coarse as it may be
    assert fine.n_tets > 3 * coarse.n_tets
    assert summarise_quality(fine).mean_edge < 0.9


@needs_mesher
def test_a_volume_that_departs_is_warned_of_with_a_number():
    """Two balls that overlap: the divergence theorem counts the overlap twice, the mesher once."""
    ball = sphere(5.0, resolution=3).surface
    vertices = torch.cat([ball.vertices, ball.vertices + torch.tensor([4.0, 0, 0])])
    both = Surface(vertices, torch.cat([ball.triangles, ball.triangles + len(ball.vertices)]))
    with pytest.warns(AccuracyWarning, match=r"departs by -\d+\.\d %"):
        tetrahedralize(both, edge_length=2.0)


def holed(surface):
    return Surface(surface.vertices, surface.triangles[1:])


def finned(surface):
    apex = torch.tensor([[9.0, 9.0, 9.0]], dtype=torch.float64)
    a, b, _ = surface.triangles[0].tolist()
    fin = torch.tensor([[a, b, len(surface.vertices)]])
    return Surface(torch.cat([surface.vertices, apex]), torch.cat([surface.triangles, fin]))


def turned(surface):
    triangles = surface.triangles.clone()
    triangles[3] = triangles[3].flip(0)
    return Surface(surface.vertices, triangles)


def inside_out(surface):
    return Surface(surface.vertices, surface.triangles.flip(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (holed, r"surface: is open: 3 edge\(s\)"),
        (finned, r"surface: is non-manifold: 1 edge\(s\)"),
        (turned, r"surface: is inconsistently oriented: 3 edge\(s\)"),
        (inside_out, r"surface: encloses -\d+"),
    ],
)
def test_a_surface_that_encloses_nothing_is_refused(change, words):
    with pytest.raises(MeshError, match=words) as caught:
        tetrahedralize(change(sphere(5.0, resolution=2).surface))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("edge_length", [0.0, -1.0, float("nan")])
def test_an_impossible_edge_length_is_refused(edge_length):
    with pytest.raises(InputError, match="edge_length"):
        tetrahedralize(sphere(5.0, resolution=1).surface, edge_length=edge_length)


def test_without_the_mesher_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match=r'pip install "torrey\[mesh\]"'), warnings.catch_warnings():
        tetrahedralize(sphere(5.0, resolution=1).surface)

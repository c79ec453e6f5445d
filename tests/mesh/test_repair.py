import importlib.util
import math

import pytest
import torch

from torrey.errors import InputError, MeshError, MissingLibraryError
from torrey.mesh import Surface, repair, sphere, tetrahedralize

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("trimesh") is None or importlib.util.find_spec("fast_simplification") is None,
    reason="trimesh and fast-simplification are not installed",
)

BALL = sphere(5.0, resolution=8).surface
VOLUME = float(BALL.enclosed_volume)


def soup(surface):
    """Return the triangles with corners of their own, as an STL holds them."""
    corners = surface.vertices[surface.triangles].reshape(-1, 3)
    return Surface(corners, torch.arange(len(corners)).view(-1, 3))


def with_holes(surface, *places):
    """Leave out the triangles nearer to each (point, distance)."""
    middle = surface.vertices[surface.triangles].mean(1)
    kept = torch.ones(len(middle), dtype=torch.bool)
    for point, distance in places:
        kept &= (middle - torch.tensor(point)).norm(dim=1) > distance
    return Surface.from_indexed(surface.vertices, surface.triangles[kept])


def turned(surface, share=0.3):
    some = torch.rand(len(surface.triangles), generator=torch.Generator().manual_seed(0)) < share
    return Surface(surface.vertices, torch.where(some[:, None], surface.triangles.flip(1), surface.triangles))


def together(*surfaces):
    starts = [sum(len(s.vertices) for s in surfaces[:i]) for i in range(len(surfaces))]
    triangles = [s.triangles + start for s, start in zip(surfaces, starts, strict=True)]
    return Surface(torch.cat([s.vertices for s in surfaces]), torch.cat(triangles))


def moved(surface, *by):
    return Surface(surface.vertices + torch.tensor(by), surface.triangles)


def test_a_good_surface_is_left_as_it_is():
    after, report = repair(BALL)
    assert torch.equal(after.vertices, BALL.vertices)
    assert torch.equal(after.triangles, BALL.triangles)
    assert report.volume_before == report.volume_after == pytest.approx(VOLUME, rel=1e-12)
    counts = (report.merged_vertices, report.degenerate_triangles, report.duplicate_triangles)
    assert (*counts, report.turned_triangles) == (0, 0, 0, 0)
    assert (report.dropped_areas, report.hole_lengths) == ((), ())
    assert report.farthest == pytest.approx(0, abs=1e-12)


def test_a_soup_is_merged():
    after, report = repair(soup(BALL))
    assert len(after.vertices) == len(BALL.vertices)
    assert report.merged_vertices == 3 * len(BALL.triangles) - len(BALL.vertices)
    assert report.volume_before is None
    assert report.volume_after == pytest.approx(VOLUME, rel=1e-12)


def test_degenerate_and_duplicate_triangles_go():
    a, b, c = BALL.triangles[0].tolist()
    more = torch.tensor([[a, a, b], [b, c, a], [c, b, a]])
    after, report = repair(Surface(BALL.vertices, torch.cat([BALL.triangles, more])))
    assert (report.degenerate_triangles, report.duplicate_triangles) == (1, 2)
    assert len(after.triangles) == len(BALL.triangles)
    assert report.volume_after == pytest.approx(VOLUME, rel=1e-12)


def test_triangles_are_turned_alike_and_outwards():
    # 0.7 of them turned: the majority points inwards
    damaged = turned(BALL, 0.7)
    after, report = repair(damaged)
    assert report.turned_triangles == int((damaged.triangles != after.triangles).any(1).sum())
    assert report.turned_triangles > 0.6 * len(BALL.triangles)
    assert report.volume_after == pytest.approx(VOLUME, rel=1e-12)


def test_holes_are_filled_and_measured():
    damaged = with_holes(BALL, ((5.0, 0.0, 0.0), 1.0), ((0.0, -5.0, 0.0), 0.6))
    after, report = repair(damaged)
    assert len(report.hole_lengths) == 2
    # the rims are jagged circles of radius 1 and 0.6, and a little more
    assert 2 * math.pi < report.hole_lengths[0] < 4 * math.pi
    assert 1.2 * math.pi < report.hole_lengths[1] < 2.4 * math.pi
    # flat lids cut off caps: those of circles of 1.5 and 1 µm, at most, are 0.4 % and 0.1 % of the ball
    assert VOLUME * 0.995 < report.volume_after < VOLUME
    assert float(after.area) == pytest.approx(float(BALL.area), rel=0.01)
    # the middle of the larger lid, a radius from its rim
    assert 0.1 < report.farthest < 1.2


def test_fragments_are_dropped_or_kept_as_asked():
    speck = sphere(0.3, resolution=2).surface
    damaged = together(moved(speck, 9.0, 0.0, 0.0), BALL, moved(speck, 0.0, 9.0, 0.0))
    after, report = repair(damaged)
    assert report.dropped_areas == pytest.approx((float(speck.area),) * 2)
    assert report.volume_after == pytest.approx(VOLUME, rel=1e-12)
    assert len(after.vertices) == len(BALL.vertices)
    every, report = repair(damaged, keep="all")
    assert report.dropped_areas == ()
    assert float(every.enclosed_volume) == pytest.approx(VOLUME + 2 * float(speck.enclosed_volume), rel=1e-12)


def test_all_damages_at_once_leave_a_ball_that_can_be_filled():
    speck = moved(sphere(0.3, resolution=2).surface, 9.0, 0.0, 0.0)
    damaged = soup(turned(together(with_holes(BALL, ((5.0, 0.0, 0.0), 1.0)), speck)))
    after, report = repair(damaged, edge_length=1.2)
    assert report.triangles_after == pytest.approx(float(BALL.area) / (math.sqrt(3) / 4 * 1.44), rel=0.02)
    assert report.volume_after == pytest.approx(VOLUME, rel=0.01)
    assert report.farthest < 1.2
    assert report.mean_distance < 0.05
    # the mesher departs by up to a thousandth of the diagonal, 17 nm, from a surface of 5 µm
    assert float(tetrahedralize(after, edge_length=2.0).volume) == pytest.approx(
        report.volume_after, rel=0.01
    )


def test_simplifying_keeps_the_shape_with_fewer_triangles():
    after, report = repair(sphere(5.0, resolution=16).surface, n_triangles=640)
    assert len(after.triangles) == report.triangles_after == pytest.approx(640, abs=4)
    # a ball of 640 even triangles has edges of 1.07 µm, whose sagitta is 0.03 µm
    assert report.farthest < 0.1
    assert 0 < report.mean_distance < report.farthest
    assert report.volume_after == pytest.approx(4 / 3 * math.pi * 125, rel=0.01)


def test_the_report_reads_as_lines():
    speck = moved(sphere(0.3, resolution=2).surface, 9.0, 0.0, 0.0)
    text = str(repair(together(with_holes(BALL, ((5.0, 0.0, 0.0), 1.0)), speck))[1])
    for words in ("fragments dropped", "holes filled", "µm around", "not closed →", "µm at most"):
        assert words in text


def test_what_cannot_be_repaired_says_what_remains():
    fin = torch.tensor([[9.0, 9.0, 9.0]], dtype=torch.float64)
    a, b, _ = BALL.triangles[0].tolist()
    finned = Surface(
        torch.cat([BALL.vertices, fin]),
        torch.cat([BALL.triangles, torch.tensor([[a, b, len(BALL.vertices)]])]),
    )
    with pytest.raises(MeshError, match=r"repaired surface: is non-manifold: 1 edge"):
        repair(finned, keep="all")
    with pytest.raises(MeshError, match="none of 1 triangles has an area"):
        repair(Surface(BALL.vertices, BALL.triangles[:1, [0, 0, 1]]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": "some"}, "keep is 'some'"),
        ({"edge_length": -1.0}, "edge_length is -1"),
        ({"n_triangles": 3}, "n_triangles is 3"),
        ({"edge_length": 30.0}, "leaves 1 triangles"),
        ({"n_triangles": 300, "edge_length": 1.0}, "expected one of them"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        repair(BALL, **options)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "torrey\[repair\]"'):
        repair(BALL)

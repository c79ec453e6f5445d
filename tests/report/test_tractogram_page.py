"""The page of streamlines: its numbers, its picture of the matrix, and the lines in a real browser."""

import base64
import re

import numpy as np
import pytest
import torch
from test_report_browser import BROWSER, SOFTWARE_WEBGL, attribute, visit
from test_report_html import Resources

from torrey.report.heat_map import DARK, LEFT, PALE, SIZE, TOP, heat_map
from torrey.report.streamline_data import MOST_POINTS, MOST_STREAMLINES, streamline_data
from torrey.report.tractogram_page import Edges, render
from torrey.tractography import Streamlines

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")


def along_x(n=20, n_points=50):
    """Lines 40 mm long along x, side by side in y."""
    x = torch.linspace(-20, 20, n_points, dtype=torch.float64)
    lines = [torch.stack([x, torch.full_like(x, k), 0 * x], 1) for k in range(n)]
    return Streamlines.from_list(lines)


@pytest.fixture
def page():
    nodes = torch.tensor([[1, 2]] * 20)
    matrix = torch.tensor([[0.0, 20, 0], [20, 0, 0], [0, 0, 0]])
    return render(along_x(), Edges(nodes, matrix), settings={"labels": "<a>.nii & {{viewer}}"})


def squares(picture, n):
    """Colours (n, n) of the entries of a heat map, None where white."""
    found = np.full((n, n), None)
    for cells, colour in re.findall(r'<path d="([^"]*)" fill="(#[0-9a-f]{6})"', picture):
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h", cells):
            found[round((float(y) - TOP) * n / SIZE), round((float(x) - LEFT) * n / SIZE)] = colour
    return found


def test_shades_follow_the_logarithm_of_counts():
    matrix = np.array([[0.0, 1, 1000], [10, np.nan, 0], [100, 0, 0]])
    found = squares(heat_map(matrix), 3)
    assert [(i, j) for i, j in np.ndindex(3, 3) if found[i, j]] == [(0, 1), (0, 2), (1, 0), (2, 0)]
    colour = np.array([[int(found[at][k : k + 2], 16) for k in (1, 3, 5)] for at in ((0, 1), (1, 0), (0, 2))])
    # thirds of the way, rounded to one of 32 shades: 1/62 of it, at most 4 of 255
    expected = [PALE + (DARK - PALE) * part for part in (0, 1 / 3, 1)]
    assert np.abs(colour - expected).max() < 4.5


def test_signed_values_are_shaded_evenly():
    picture = heat_map(np.array([[-1.0, 0], [1, 3]]))
    red = [[int(c[1:3], 16) if c else None for c in row] for row in squares(picture, 2)]
    assert red[0][0] == PALE[0]
    assert red[1][1] == DARK[0]
    assert red[1][0] == pytest.approx((PALE[0] + DARK[0]) / 2, abs=4)
    assert "linear" in picture
    assert squares(heat_map(np.zeros((2, 2))), 2).tolist() == [[None] * 2] * 2


def test_nodes_are_numbered():
    def labels(n, first):
        found = re.findall(r'text-anchor="end">(\d+)<', heat_map(np.zeros((n, n)), first=first))
        return [int(number) for number in found]

    assert labels(3, 1) == [1, 2, 3]
    assert labels(3, 0) == [0, 1, 2]
    assert len(labels(400, 1)) <= 24


def test_streamlines_are_thinned_to_a_bounded_number():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 300, (3000,), generator=generator)
    points = torch.randn(int(counts.sum()), 3, generator=generator, dtype=torch.float64) * 40
    lines = Streamlines(points, torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]))
    data = streamline_data(lines)
    kept = np.frombuffer(base64.b64decode(data["counts"]), "<u4")
    xyz = np.frombuffer(base64.b64decode(data["points"]), "<f4").reshape(-1, 3)
    assert len(kept) == data["n_shown"] == MOST_STREAMLINES
    assert 2 <= kept.min() <= kept.max() == MOST_POINTS
    assert len(xyz) == kept.sum()
    # one with a single point cannot be drawn; of the first of the others both ends are there
    first = lines[int((counts > 1).nonzero()[0, 0])].numpy()
    shift = xyz[0] - first[0]
    assert xyz[kept[0] - 1] == pytest.approx(first[-1] + shift, abs=1e-4)


def test_no_streamline_makes_a_page_too():
    page = render(Streamlines.from_list([]), settings={})
    assert "streamlines <b>0</b>" in page
    assert "Edges" not in page


def test_page_loads_nothing_from_outside(page):
    parser = Resources()
    parser.feed(page)
    assert (parser.loaded, parser.open) == ([], [])
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|XMLHttpRequest|\bimport\b\s*[(\"']", page)
    assert "&lt;a&gt;.nii &amp; {{viewer}}" in page


COLOURS = """
const at_once = document.getElementById("from-above");
at_once.click();
const canvas = document.getElementById("tracks"), gl = canvas.getContext("webgl");
const p = new Uint8Array(4 * canvas.width * canvas.height);
gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, p);
const seen = { red: 0, other: 0, across: 0 };
for (let i = 0, lowest = 1e9, highest = -1; i < p.length; i += 4) {
  if (Math.abs(p[i] - p[0]) + Math.abs(p[i + 1] - p[1]) + Math.abs(p[i + 2] - p[2]) < 12) continue;
  if (p[i] > p[i + 1] + 8 && p[i] > p[i + 2] + 8) seen.red++; else seen.other++;
  const x = (i / 4) % canvas.width;
  lowest = Math.min(lowest, x); highest = Math.max(highest, x);
  seen.across = highest - lowest;
}
document.body.dataset.seen = `${seen.red} ${seen.other} ${seen.across / canvas.width}`;
document.body.dataset.shape = canvas.width / canvas.height;
"""


@needs_browser
def test_streamlines_are_drawn_in_the_colour_of_their_direction(page, tmp_path):
    # frames at once: a busy machine may not get through them before the page is dumped
    at_once = "<script>window.requestAnimationFrame = (draw) => { draw(0); return 0; };</script></head>"
    page = page.replace("</head>", at_once).replace("</body>", f"<script>{COLOURS}</script></body>")
    dom, console = visit(page, tmp_path, *SOFTWARE_WEBGL, "--window-size=1200,900")
    assert [line for line in console if "ReadPixels" not in line] == []
    assert (attribute(dom, "ready"), attribute(dom, "webgl")) == ("true", "yes")
    assert re.search(r'id="scale-text">10 mm<', dom)
    red, other, across = map(float, attribute(dom, "seen").split())
    assert red > 1000
    assert other == 0
    # the height shows 1.08 times the sphere about them, of radius √(20² + 9.5²) mm
    expected = 40 / (2 * 1.08 * np.hypot(20, 9.5)) / float(attribute(dom, "shape"))
    assert across == pytest.approx(expected, abs=0.01)


@needs_browser
def test_page_without_webgl_says_so(page, tmp_path):
    dom, console = visit(page, tmp_path, "--disable-gpu", "--disable-3d-apis")
    assert console == []
    assert (attribute(dom, "ready"), attribute(dom, "webgl")) == ("true", "no")

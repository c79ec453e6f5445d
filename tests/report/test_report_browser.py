"""The report in a real browser, without a window: no console error, the surface drawn, the controls alive."""

import itertools
import re
import shutil
import subprocess

import pytest

from torrey.report.html import render

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the PATH")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--dump-dom",
)
SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")

# Work every control and take a checksum of the picture after each.
EXERCISE = """
const canvas = document.getElementById("surface"), direction = document.getElementById("direction");
const inked = () => {
  const gl = canvas.getContext("webgl"), p = new Uint8Array(4 * canvas.width * canvas.height);
  gl.readPixels(0, 0, canvas.width, canvas.height, gl.RGBA, gl.UNSIGNED_BYTE, p);
  let hash = 0, drawn = 0;
  for (const v of p) hash = (hash * 31 + v) % 1000003;
  // the first pixel is a corner, where nothing but background is
  for (let i = 0; i < p.length; i += 4)
    if (Math.abs(p[i] - p[0]) + Math.abs(p[i + 1] - p[1]) + Math.abs(p[i + 2] - p[2]) > 6) drawn++;
  document.body.dataset.drawn ??= `${drawn} of ${p.length / 4}`;
  return hash;
};
const pictures = [];
const byId = (id) => document.getElementById(id), tell = (at, kind) => at.dispatchEvent(new Event(kind));
const act = [
  () => tell(window, "resize"),
  () => { direction.selectedIndex = direction.options.length - 1; tell(direction, "change"); },
  () => { byId("amplitude").value = "-100"; tell(byId("amplitude"), "input"); },
  () => { byId("colouring").value = "deviation"; tell(byId("colouring"), "change"); },
  () => byId("edges").click(),
  () => canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -300, cancelable: true })),
  () => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })),
  () => byId("edges").click(),
  () => byId("reset").click(),
];
for (const next of act) {
  next();
  pictures.push(inked());
  document.body.dataset.amplitude = byId("amplitude-text").textContent;
  if (pictures.length === 3) document.body.dataset.low = byId("amplitude-text").textContent;
}
document.body.dataset.pictures = pictures.join(" ");
"""


def visit(page: str, folder, *flags: str) -> tuple[str, list[str]]:
    """Return the document after its scripts ran, and the lines of its console."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def attribute(dom: str, name: str) -> str | None:
    match = re.search(rf'<body[^>]*\bdata-{name}="([^"]*)"', dom)
    return match[1] if match else None


def test_surface_is_drawn_without_a_console_message(reconstruction, tmp_path):
    dom, console = visit(render(reconstruction), tmp_path, *SOFTWARE_WEBGL, "--window-size=1200,900")
    assert console == []
    assert attribute(dom, "ready") == "true"
    assert attribute(dom, "webgl") == "yes"
    assert len(re.findall(r"<option value=\"\d+\">", dom)) == 8
    assert re.search(r'id="scale-text">5 µm<', dom)


def test_console_errors_would_be_seen(reconstruction, tmp_path):
    page = render(reconstruction).replace("</body>", "<script>null.x</script></body>")
    _, console = visit(page, tmp_path, *SOFTWARE_WEBGL)
    assert len(console) == 1
    assert "TypeError" in console[0]


def test_controls_change_the_picture(reconstruction, tmp_path):
    # frames at once: a busy machine may not get through them before the page is dumped
    at_once = "<script>window.requestAnimationFrame = (draw) => { draw(0); return 0; };</script></head>"
    page = render(reconstruction).replace("</head>", at_once)
    page = page.replace("</body>", f"<script>{EXERCISE}</script></body>")
    dom, console = visit(page, tmp_path, *SOFTWARE_WEBGL)
    # the driver remarks that reading the picture back, as this test does, is slow
    assert [line for line in console if "ReadPixels" not in line] == []
    drawn, total = attribute(dom, "drawn").split(" of ")
    # a bar of 15 × 3 µm in a picture 26 × 16 µm wide, turned a little
    assert 0.05 < int(drawn) / int(total) < 0.3
    pictures = attribute(dom, "pictures").split()
    assert len(pictures) == 9
    assert pictures[0] == pictures[-1], "reset does not bring the first picture back"
    assert all(a != b for a, b in itertools.pairwise(pictures))
    assert re.fullmatch(r"−[\d.]+ µm rms = −[\d.]+ σ", attribute(dom, "low"))
    assert attribute(dom, "amplitude") == "the reconstruction itself"


def test_page_without_webgl_says_so(reconstruction, tmp_path):
    dom, console = visit(render(reconstruction), tmp_path, "--disable-gpu", "--disable-3d-apis")
    assert console == []
    assert attribute(dom, "ready") == "true"
    assert attribute(dom, "webgl") == "no"
    assert re.search(r'<div id="viewer" hidden', dom)
    assert re.search(r'<p id="no-webgl" class="notice">', dom)

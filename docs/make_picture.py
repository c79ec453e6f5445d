"""Make the picture of the README from a run folder, with a headless Chromium.

    python docs/make_picture.py torrey-demo docs/images/demo.png

The picture is the top of report.html: the surface and the signals.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 1200

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--virtual-time-budget=8000",
)

# what lies below the signals is left out; the height of the rest is noted for the window
EXTRA = """
<style>.pair, [aria-labelledby="h-settings"], [aria-labelledby="h-cite"] { display: none !important; }</style>
<script>
document.body.dataset.height = Math.ceil(document.querySelector("main").getBoundingClientRect().bottom + 16);
</script>
"""


def main(run: Path, picture: Path) -> None:
    """Write the top of the report in the folder `run` as the PNG `picture`."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("make_picture: no Chromium on the PATH")
    report = run / "report.html"
    if not report.exists():
        sys.exit(f"{report}: no such file; expected the report of a run")
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        text = report.read_text(encoding="utf-8").replace("</body>", EXTRA + "</body>")
        page.write_text(text, encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile"]
        document = _run([*command, f"--window-size={WIDTH},900", "--dump-dom", page.as_uri()])
        height = re.search(r'data-height="(\d+)"', document)
        if height is None:
            sys.exit(f"{report}: the page did not say how high it is")
        size = f"--window-size={WIDTH},{height[1]}"
        _run([*command, size, f"--screenshot={picture.absolute()}", page.as_uri()])
    print(f"{picture}: {WIDTH} × {height[1]} pixels")


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER PICTURE.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))

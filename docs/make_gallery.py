"""Draw the pictures of gallery.md: run its Python blocks one after another, and draw what each leaves behind.

    pip install -e ".[docs,mesh]"
    python docs/make_gallery.py  # from the root of the repository; minutes

The page is written by hand, so that the code it shows is the code that ran. A block is followed by its
picture, `![…](images/gallery/NAME.png)`, and `PICTURES` says what to draw of the names that it defines.
"""

from __future__ import annotations

import io
import re
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
FOLDER = DOCS / "images" / "gallery"

Session = Mapping[str, Any]


def main() -> None:
    """Draw all pictures."""
    from torrey.errors import AccuracyWarning

    FOLDER.mkdir(parents=True, exist_ok=True)
    # a picture of a signal that is not accurate would be a wrong one
    warnings.simplefilter("error", AccuracyWarning)
    session: dict[str, Any] = {}
    for code, name in parts(PAGE.read_text(encoding="utf-8")):
        begin = time.perf_counter()
        exec(compile(code, f"{PAGE.name}: {name or 'before the pictures'}", "exec"), session)
        if name is not None:
            ran = time.perf_counter() - begin
            size = _save(PICTURES[name](session), FOLDER / f"{name}.png")
            print(f"{name:24} {ran:5.1f} s   {size / 1000:3.0f} kB", flush=True)


def parts(page: str) -> list[tuple[str, str | None]]:
    """Return each Python block of the page with the name of the picture before the next one, if any."""
    pattern = r"^```python\n(.*?)^```$|^!\[[^\]]*\]\(images/gallery/(\w+)\.png\)$"
    found: list[tuple[str, str | None]] = []
    for match in re.finditer(pattern, page, re.DOTALL | re.MULTILINE):
        code, name = match.groups()
        if name is None:
            found.append((code, None))
        else:
            found[-1] = (found[-1][0], name)
    return found


def _save(figure: Any, path: Path) -> int:
    """Write a PNG of at most 256 colours and return its size in bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    Image.open(buffer).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
    return path.stat().st_size


def _pair_of_axes(*, width_ratios: tuple[float, float] = (1, 1)) -> tuple[Any, Any, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 10,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    figure = Figure(figsize=(7.6, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=width_ratios)
    return figure, left, right


def geometry(session: Session, **view: Any) -> Any:
    """Draw `mesh`, and `signal` of `acq` along each axis."""
    from gallery_charts import draw_signal
    from gallery_meshes import View, draw_mesh

    figure, left, right = _pair_of_axes()
    draw_mesh(left, session["mesh"], View(**view))
    draw_signal(right, session["acq"], session["signal"])
    return figure


def sequence(session: Session, *, what: str = "gradient") -> Any:
    """Draw the strongest gradient of `acq` over time, and `signal` along each axis."""
    from gallery_charts import draw_gradient, draw_signal

    figure, left, right = _pair_of_axes()
    draw_gradient(left, session["acq"], -1)
    draw_signal(right, session["acq"], session["signal"], what=what)
    return figure


def complex_sequence(session: Session) -> Any:
    """Draw the strongest gradient of `acq` over time, and both parts of `signal`."""
    from gallery_charts import draw_complex_signal, draw_gradient

    figure, left, right = _pair_of_axes()
    draw_gradient(left, session["acq"], -1)
    draw_complex_signal(right, session["acq"], session["signal"])
    return figure


def comparison(session: Session, *, view: Mapping[str, Any], curves: str, dots: str) -> Any:
    """Draw `mesh`, and two dictionaries of signals as curves and as dots."""
    from gallery_charts import draw_comparison
    from gallery_meshes import View, draw_mesh

    figure, left, right = _pair_of_axes()
    draw_mesh(left, session["mesh"], View(**view))
    draw_comparison(right, session["acq"], session[curves], session[dots])
    return figure


def diffusion(session: Session) -> Any:
    """Draw `mesh`, and the `coefficients` of the measurements `fitted` with those of the `fit`."""
    from gallery_charts import draw_diffusion
    from gallery_meshes import View, draw_mesh

    figure, left, right = _pair_of_axes()
    draw_mesh(left, session["mesh"], View())
    draw_diffusion(right, session["fitted"], session["coefficients"], session["fit"].adc)
    return figure


_FROM_ABOVE = {"labels": ("axons", "myelin", "outer space"), "azimuth": -70.0, "elevation": 62.0}
_LAYERS = {"labels": ("core", "layer", "outer layer"), "cut": (0.5, -0.85, 0.0)}
_CORE = {"labels": ("core", "layer"), "cut": (0.5, -0.85, 0.0)}
_BALLS = {"labels": ("cells", "outer space"), "cut": (0.5, -0.8, 0.3), "whole": True}

PICTURES: dict[str, Callable[[Session], Any]] = {
    "cylinder": geometry,
    "bend": partial(geometry, azimuth=-75.0, elevation=20.0),
    "twist": geometry,
    "beads": geometry,
    "fan": geometry,
    "sphere": geometry,
    "box": geometry,
    "layered_sphere": partial(geometry, **_LAYERS),
    "layered_cylinder": partial(geometry, **_LAYERS),
    "sphere_in_box": partial(geometry, **_BALLS),
    "axons_in_box": partial(geometry, **_FROM_ABOVE),
    "axons_in_hull": partial(geometry, **_FROM_ABOVE),
    "axons_in_wrap": partial(geometry, **_FROM_ABOVE),
    "packed_spheres": partial(geometry, **_BALLS),
    "neuron": partial(geometry, azimuth=-80.0),
    "pgse": sequence,
    "double_pgse": sequence,
    "cosine_ogse": sequence,
    "sine_ogse": sequence,
    "trapezoid": sequence,
    "linear_encoding": partial(sequence, what="axis of the waveform"),
    "planar_encoding": partial(sequence, what="axis of the waveform"),
    "spherical_encoding": partial(sequence, what="axis of the waveform"),
    "pulse_train": partial(sequence, what="axis of the waveform"),
    "asymmetric": complex_sequence,
    "apparent_diffusion": diffusion,
    "karger": partial(comparison, view=_BALLS, curves="karger", dots="simulated"),
    "layers": partial(comparison, view=_CORE, curves="exact", dots="simulated"),
}
"""What to draw from the names that the block above each picture leaves behind."""


if __name__ == "__main__":
    main()

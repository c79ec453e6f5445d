"""The gallery shows what it says: every picture is made from the code above it, and every file is shown."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import make_gallery  # noqa: E402

from torrey.acquisition import AbstractPulses  # noqa: E402
from torrey.mesh import AbstractDeformation  # noqa: E402

PAGE = make_gallery.PAGE.read_text(encoding="utf-8")
SHOWN = re.findall(r"!\[([^\]]+)\]\(images/gallery/(\w+)\.png\)", PAGE)
MOST_BYTES, MOST_BYTES_IN_ALL = 60_000, 1_500_000


def test_each_picture_is_shown_once_and_has_a_block_and_a_file():
    names = [name for _, name in SHOWN]
    assert len(set(names)) == len(names)
    assert sorted(names) == sorted(make_gallery.PICTURES)
    assert sorted(name for _, name in make_gallery.parts(PAGE) if name) == sorted(names)
    # no orphan, and none missing
    assert sorted(path.name for path in make_gallery.FOLDER.iterdir()) == sorted(f"{n}.png" for n in names)


def test_pictures_are_described_in_words():
    descriptions = [text for text, _ in SHOWN]
    assert len(set(descriptions)) == len(descriptions)


def test_pictures_are_small():
    sizes = {path.name: path.stat().st_size for path in make_gallery.FOLDER.iterdir()}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}
    assert sum(sizes.values()) < MOST_BYTES_IN_ALL


def test_blocks_compile():
    code = [code for code, _ in make_gallery.parts(PAGE)]
    assert len(code) == PAGE.count("```python\n") > len(SHOWN)
    for block in code:
        compile(block, "gallery.md", "exec")


def _concrete(kind: type) -> set[str]:
    """Return the names of the classes below `kind` that are not abstract."""
    below = set().union(*(_concrete(other) for other in kind.__subclasses__()))
    return below if kind.__name__.startswith(("Abstract", "_")) else below | {kind.__name__}


def test_every_waveform_and_every_deformation_is_shown():
    """PGSE has a constructor of its own, and Compose draws nothing new."""
    waveforms = _concrete(AbstractPulses) - {"Pgse"}
    deformations = _concrete(AbstractDeformation) - {"Compose"}
    assert waveforms >= {"CosineOgse", "DoublePgse"}
    assert deformations >= {"Bend", "Fan"}
    assert [name for name in sorted(waveforms | deformations) if f".{name}(" not in PAGE] == []

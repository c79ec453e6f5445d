"""The rooms of the package import one way only, and the top level offers the names that users need."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import torrey

PACKAGE = Path(torrey.__file__).parent

# each room and the rooms it may import; the files at the top are open to all
ROOMS = {
    "errors": set(),
    "units": set(),
    "autodiff": set(),
    "replace": set(),
    "text_files": {"replace"},
    "mesh": set(),
    "acquisition": set(),
    "fem": {"mesh"},
    "signal": {"mesh", "acquisition", "fem"},
    "shape": {"mesh"},
    "inverse": {"mesh", "acquisition", "fem", "signal", "shape"},
    "tractography": set(),
    "report": {"mesh", "acquisition", "fem", "signal", "shape", "inverse", "tractography"},
    "run_settings": {"mesh", "acquisition", "fem", "signal", "shape", "inverse", "report"},
    "terminal": {"mesh", "acquisition", "fem", "signal", "shape", "inverse", "report"},
    "experiments": {"mesh", "acquisition", "fem", "signal", "shape", "inverse", "report", "terminal"},
    "commands": {
        "mesh",
        "acquisition",
        "signal",
        "shape",
        "tractography",
        "report",
        "experiments",
        "terminal",
    },
    "cli": {
        "mesh",
        "acquisition",
        "fem",
        "signal",
        "shape",
        "inverse",
        "tractography",
        "report",
        "run_settings",
        "terminal",
        "experiments",
        "commands",
    },
}
OPEN_TO_ALL = {"errors", "units", "autodiff", "text_files", "replace"}

PUBLIC = {
    "Acquisition",
    "BlochTorrey",
    "MatrixFormalism",
    "TetMesh",
    "Tissue",
    "__version__",
    "acquisition",
    "errors",
    "inverse",
    "mesh",
    "metrics",
    "read_mesh",
    "reconstruct",
    "report",
    "shape",
    "signal",
    "simulate",
    "simulate_batch",
    "simulate_compartments",
    "tractography",
    "write_mesh",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, *, package: str) -> set[str]:
    """Return the absolute names that `source`, a file of `package`, imports anywhere in its text."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            # `from . import x` names a module or a value; the room is the same
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    """Return the room of an absolute name, or None outside the package and for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "torrey" and len(parts) > 1 and parts[1] in ROOMS else None


def rooms_imported(path: Path) -> set[str]:
    module = module_name(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    rooms = {room_of(name) for name in imported_modules(path.read_text(encoding="utf-8"), package=package)}
    return {room for room in rooms if room is not None}


def files_of(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


def test_every_file_is_in_a_room():
    known = {path for room in ROOMS for path in files_of(room)} | {PACKAGE / "__init__.py"}
    assert sorted(PACKAGE.rglob("*.py")) == sorted(known)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room):
    may = ROOMS[room] | OPEN_TO_ALL | {room}
    wrong = {path.name: rooms_imported(path) - may for path in files_of(room)}
    assert {name: rooms for name, rooms in wrong.items() if rooms} == {}


def test_the_rule_has_no_cycle():
    order: list[str] = []
    while len(order) < len(ROOMS):
        free = [room for room, below in ROOMS.items() if room not in order and below <= set(order)]
        assert free, f"a cycle among {set(ROOMS) - set(order)}"
        order += free


@pytest.mark.parametrize(
    ("source", "room"),
    [
        ("from ..fem import space", "fem"),
        ("from .. import fem", "fem"),
        ("import torrey.fem.space", "fem"),
        ("def f():\n    from ..fem.space import FunctionSpace", "fem"),
        ("from . import deform", "mesh"),
        ("import torch", None),
    ],
)
def test_imports_are_seen_however_they_are_written(source, room):
    assert {room_of(name) for name in imported_modules(source, package="torrey.mesh")} == {room}


def test_top_level_names():
    assert set(dir(torrey)) == PUBLIC
    for name in PUBLIC:
        assert getattr(torrey, name) is not None
    assert torrey.metrics is torrey.inverse.metrics
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        torrey.nothing  # noqa: B018


def test_the_command_does_not_wait_for_pytorch():
    code = (
        "import sys, torrey.cli; torrey.cli.main(['--help']); print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: torrey" in done.stdout
    assert done.stderr.split() == ["False"]

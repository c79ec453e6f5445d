"""Read and write files through meshio, with its failures turned into one line."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import FileError

# On damaged input meshio's readers fail in any of these ways: they parse without checking, allocate what a
# damaged header announces, and end the program when no reader of the extension accepts the file.
_READER_FAILURES = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    StopIteration,
    SyntaxError,
    UnboundLocalError,
    struct.error,
    zlib.error,
    SystemExit,
)


def readable_extensions() -> tuple[str, ...]:
    """Return the file extensions that meshio knows, with their dots, longest first."""
    import meshio

    return tuple(sorted(meshio.extension_to_filetypes, key=len, reverse=True))


def read_with_meshio(path: Path) -> Any:
    """Return the `meshio.Mesh` in `path`; a `FileError` of one line where it cannot be had."""
    import meshio

    require_file(path)
    if not str(path).lower().endswith(readable_extensions()):
        known = ".vtu .vtk .msh .mesh .xdmf .node/.ele .ply .stl .obj .off"
        raise FileError(
            f"{path}: the extension {path.suffix or '(none)'} is not known, expected one like {known}"
        )
    try:
        with _silence():
            return meshio.read(path)
    except ImportError as error:
        raise FileError(
            f"{path}: reading it needs the library {error.name}: pip install {error.name}"
        ) from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (meshio.ReadError, *_READER_FAILURES) as error:
        raise FileError(f"{path}: is damaged or not a {path.suffix} file") from error


def write_with_meshio(path: Path, mesh: Any, *, name: Path, **options: Any) -> None:
    """Write a `meshio.Mesh` to `path`; errors speak of `name`, the file the user asked for."""
    import meshio

    if not str(path).lower().endswith(readable_extensions()):
        raise FileError(
            f"{name}: the extension {name.suffix or '(none)'} is not known, expected one like .vtu or .ply"
        )
    try:
        with _silence():
            meshio.write(path, mesh, **options)
    except ImportError as error:
        raise FileError(
            f"{name}: writing it needs the library {error.name}: pip install {error.name}"
        ) from error
    except (meshio.WriteError, *_READER_FAILURES) as error:
        raise FileError(f"{name}: a tetrahedral mesh cannot be written as {name.suffix}; use .vtu") from error


def require_file(path: Path) -> None:
    """Raise a `FileError` where `path` is not a file that can be read and holds something."""
    if path.is_dir():
        raise FileError(f"{path}: is a folder, expected a file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise FileError(f"{path}: is empty, expected a mesh")
    except FileNotFoundError as error:
        raise FileError(f"{path}: does not exist") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield

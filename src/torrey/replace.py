"""Write files beside their place and move them there when they are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import FileError


@contextmanager
def replaced_when_written(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a file of the same name in a temporary folder beside `path`.

    On success every file in that folder is moved to the folder of `path`; on an error nothing is.

    Raises
    ------
    FileError
        When the folder does not exist or cannot be written, or `path` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise FileError(f"{target}: cannot be written: is a folder, expected the name of a file")
    if not target.parent.is_dir():
        raise FileError(f"{target}: cannot be written: the folder {target.parent} does not exist")
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise FileError(f"{target}: cannot be written in {target.parent} ({error.strerror})") from error
    try:
        yield beside / target.name
        for written in sorted(beside.iterdir()):
            os.replace(written, target.parent / written.name)
    except OSError as error:
        raise FileError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)

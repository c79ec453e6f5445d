"""`TaskStore`: the results of tasks in a folder, which outlives a killed run.

manifest.json     format, version of Torrey, and the recipe whose tasks these are
results.jsonl     a line for each task that ended, appended and flushed to the disk
arrays/KEY.safetensors
                  its arrays, written whole before the line

A line that a kill cut short is dropped when the folder is opened again. Where a task has several lines, after
a failure, the last one holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from ..errors import FileError
from ..replace import replaced_when_written
from ..text_files import read_text, write_text
from .task import Outcome, Spec, task_key

if TYPE_CHECKING:
    import numpy as np

FORMAT = "torrey tasks"
FORMAT_VERSION = 1
MANIFEST, RESULTS, ARRAYS = "manifest.json", "results.jsonl", "arrays"


@dataclass(frozen=True, eq=False)
class Record:
    """How a task ended.

    Attributes
    ----------
    key : str
        Its name.
    spec : Spec
        What it computed.
    seconds : float
        Wall time of it.
    values : mapping
        Numbers; arrays are in the store beside.
    error : str or None
        Why it failed, in one line.
    traceback : str or None
        Where.
    """

    key: str
    spec: Spec
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    traceback: str | None = None


class TaskStore(AbstractContextManager["TaskStore"]):
    """Results of the tasks of one recipe, open for appending; one process at a time.

    Parameters
    ----------
    folder : Path
        Made where missing.
    recipe : mapping
        What the tasks are made from, JSON-serialisable; a folder of another recipe is refused.

    Raises
    ------
    FileError
        When the folder holds something else, another recipe, another version's results or a damaged file, is
        in use, or cannot be written.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            (folder / ARRAYS).mkdir(parents=True, exist_ok=True)
            self._check_manifest(json.loads(json.dumps(recipe)))
            self._lines = _open_alone(folder / RESULTS)
        except OSError as error:
            raise FileError(f"{folder}: cannot be written: {error.strerror}") from error
        try:
            self._records = {record.key: record for record in self._read()}
        except FileError:
            self._lines.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def __enter__(self) -> Self:
        return self

    def record(self, key: str) -> Record | None:
        """Return how the task named `key` ended, or None where it did not."""
        return self._records.get(key)

    def has(self, key: str) -> bool:
        """Whether the task named `key` succeeded."""
        record = self._records.get(key)
        return record is not None and record.error is None

    def add(self, spec: Spec, outcome: Outcome, *, seconds: float) -> None:
        """Keep the result of the task `spec`, which took `seconds`; on return it is on the disk."""
        key = task_key(spec)
        if outcome.arrays:
            from safetensors.numpy import save_file

            with replaced_when_written(self._arrays_path(key)) as beside:
                save_file({name: array.copy() for name, array in outcome.arrays.items()}, beside)
        self._append(Record(key, spec, seconds, dict(outcome.values)))

    def add_failure(
        self, spec: Spec, message: str, *, seconds: float = 0.0, traceback: str | None = None
    ) -> None:
        """Keep that the task `spec` failed, and why."""
        self._append(Record(task_key(spec), spec, seconds, error=message, traceback=traceback))

    def arrays(self, key: str) -> dict[str, np.ndarray]:
        """Return the arrays of the task named `key`, none where it had none."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        path = self._arrays_path(key)
        try:
            return dict(load_file(path)) if path.exists() else {}
        except (OSError, SafetensorError) as error:
            raise FileError(f"{path}: cannot be read, expected safetensors: {error}") from error

    def _arrays_path(self, key: str) -> Path:
        return self.folder / ARRAYS / f"{key}.safetensors"

    def _check_manifest(self, recipe: Mapping[str, Any]) -> None:
        path = self.folder / MANIFEST
        mine = {"format": FORMAT, "format_version": FORMAT_VERSION, "torrey": version("torrey")}
        if not path.exists():
            if (self.folder / RESULTS).exists():
                raise FileError(
                    f"{self.folder}: holds {RESULTS} without {MANIFEST}; expected both or neither"
                )
            write_text(path, json.dumps({**mine, "recipe": recipe}, indent=1, ensure_ascii=False) + "\n")
            return
        try:
            found = json.loads(read_text(path))
            theirs = {name: found[name] for name in mine}
            of_recipe = found["recipe"]
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: is not a manifest of Torrey's tasks") from error
        for name, value in mine.items():
            if theirs[name] != value:
                raise FileError(
                    f"{path}: {name} is {theirs[name]!r}, expected {value!r}; "
                    "take another folder, or delete it"
                )
        difference = next(_differences(of_recipe, recipe), None)
        if difference is not None:
            name, old, new = difference
            raise FileError(
                f"{path}: results of another recipe: {name} is {old!r} there and {new!r} here; "
                "take another folder, or delete it"
            )

    def _read(self) -> Iterator[Record]:
        path = self.folder / RESULTS
        self._lines.seek(0)
        whole = 0
        for number, line in enumerate(self._lines, start=1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            try:
                yield Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise FileError(
                    f"{path}: line {number}: is not a result; expected one JSON object"
                ) from error
        self._lines.truncate(whole)
        self._lines.seek(whole)

    def _append(self, record: Record) -> None:
        line = json.dumps(vars(record), allow_nan=False, ensure_ascii=False) + "\n"
        try:
            self._lines.write(line.encode())
            self._lines.flush()
            os.fsync(self._lines.fileno())
        except OSError as error:
            raise FileError(f"{self.folder / RESULTS}: cannot be written: {error.strerror}") from error
        self._records[record.key] = record


def _open_alone(path: Path) -> BinaryIO:
    """Open `path` for reading and appending, and lock it where the system can: half lines are cut off."""
    file = path.open("a+b")
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise FileError(
                f"{path}: is in use by another run; wait for it, or take another folder"
            ) from error
    return file


def _differences(old: Any, new: Any, name: str = "recipe") -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted name, old and new value where two JSON values differ; a missing value is None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}")
    elif old != new:
        yield name, old, new

"""`make_dataset`: make what a data set lacks, in this process or in many."""

from __future__ import annotations

import shutil
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from ...errors import AccuracyWarning, FileError, TorreyError
from ...mesh import TetMesh, prism
from ..families import AbstractFamily
from .dataset import TEMPLATE, Dataset, open_dataset, read_template
from .manifest import FILE, Manifest, read_manifest, require_same, write_manifest
from .rows import Recipe, Signals
from .shard import Arrays, blocks, indices_of, merged, read_shard, shard_path, write_arrays

Task = TypeVar("Task")
Answer = TypeVar("Answer")

_BATCH = 8
"""Shapes that a worker makes at a time: with signals seconds of work, so that workers end together."""

_AHEAD = 64
"""Batches that are handed out before the first is waited for."""

_TRIES = 3
"""Workers that may die on one batch."""


def make_dataset(
    path: str | Path,
    family: AbstractFamily,
    *,
    indices: Iterable[int],
    seed: int = 0,
    template: TetMesh | None = None,
    signals: Signals | None = None,
    settings: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Make those shapes of a family, and those signals, that the data set in a folder lacks.

    What is there is kept. A shard is written whole or not at all, and its bytes depend only on which shapes
    and signals it holds: a run that was killed and started again ends with the files of one that was not.
    One process at a time may make a data set; any number may read it.

    Parameters
    ----------
    path : path
        Folder; made where missing.
    family : AbstractFamily
    indices : iterable of int
        Shapes of the family that the data set is to hold, besides those it holds already.
    seed : int
        Of the family.
    template : TetMesh, optional
        What is deformed; `torrey.mesh.prism()` by default.
    signals : callable, optional
        From a `ShapeSample` to its signals (N,), µm³. Called for the shapes `indices` without signals.
    settings : mapping, optional
        JSON-serialisable facts about `signals`, kept in the manifest, so that signals of other settings are
        refused.
    executor : concurrent.futures.Executor, optional
        Where the work is done; in this process where not given. Processes must be able to import `signals`.
    progress : callable, optional
        Called with how many of how many shapes are there.

    Raises
    ------
    FileError
        When the folder holds something else, or a data set of another family, seed or template, or a
        damaged shard; or when it cannot be written.
    InputError
        When the family has no such shape.
    TorreyError
        When workers die.

    Warns
    -----
    AccuracyWarning
        Once, with the number of warnings that `signals` gave, and the first.
    """
    wanted = sorted(set(indices))
    for index in wanted[:1] + wanted[-1:]:
        # refused before anything is written
        family.sample(index, seed=seed, template=template)
    folder, recipe = Path(path), Recipe(family=family, seed=seed, template=template, signals=signals)
    described = None if signals is None else dict(settings or {})
    _prepare(
        folder, Manifest.of(family, seed=seed, signals=described), prism() if template is None else template
    )

    lacking = {
        number: missing
        for number, block in blocks(wanted)
        if (missing := _lacking(shard_path(folder, number), block, signals=signals is not None))
    }
    n_done, said = len(wanted) - sum(map(len, lacking.values())), list[str]()
    batches = (
        missing[i : i + _BATCH] for missing in lacking.values() for i in range(0, len(missing), _BATCH)
    )
    with closing(_in_order(recipe.rows, batches, executor)) as made:
        for number, missing in lacking.items():
            parts = []
            for _ in range(0, len(missing), _BATCH):
                rows, warned = next(made)
                parts.append(rows)
                said += warned
                n_done += len(rows["index"])
                if progress is not None:
                    progress(n_done, len(wanted))
            _add(shard_path(folder, number), parts)
    if said:
        text = f"{said[0]}; {len(said)} such warnings of {len(wanted)} shapes"
        warnings.warn(text, AccuracyWarning, stacklevel=2)
    return open_dataset(folder)


def _prepare(folder: Path, asked: Manifest, template: TetMesh) -> None:
    """Make `folder` ready for shapes of `asked`, and clear away what a killed run left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror})") from error
    if (folder / FILE).exists():
        found = read_manifest(folder)
        require_same(folder, found, asked)
        held = read_template(folder)
        if not (torch.equal(held.vertices, template.vertices) and torch.equal(held.tets, template.tets)):
            raise FileError(
                f"{folder / TEMPLATE}: holds a mesh of {held.n_vertices} vertices, "
                f"expected the template asked for, of {template.n_vertices}"
            )
        if found.signals is None and asked.signals is not None:
            write_manifest(folder, asked)
    else:
        foreign = [each.name for each in folder.iterdir() if each.name[0] != "." and each.name != TEMPLATE]
        if foreign:
            raise FileError(f"{folder}: holds {min(foreign)} and no {FILE}, expected a data set or nothing")
        write_arrays(folder / TEMPLATE, {"vertices": template.vertices.detach(), "tets": template.tets})
        write_manifest(folder, asked)
    for name in ("shard_", FILE, TEMPLATE):
        for left in folder.glob(f".{name}*"):
            shutil.rmtree(left, ignore_errors=True)


def _lacking(shard: Path, indices: list[int], *, signals: bool) -> list[int]:
    """Return those of `indices` that a shard does not hold, or holds without the `signals` wanted."""
    if not shard.exists():
        return indices
    held = indices_of(shard)
    if signals:
        found = read_shard(shard).get("signals", np.full((len(held), 1), np.nan))
        held = held[np.isfinite(found).all(1)]
    return sorted(set(indices) - set(held.tolist()))


def _add(shard: Path, parts: list[Arrays]) -> None:
    write_arrays(shard, merged([read_shard(shard), *parts] if shard.exists() else parts))


def _in_order(
    work: Callable[[Task], Answer], tasks: Iterable[Task], executor: Executor | None
) -> Generator[Answer, None, None]:
    """Yield the answers to `tasks` in their order."""
    if executor is None:
        yield from map(work, tasks)
        return
    waiting: deque[tuple[Task, Future[Answer]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, executor.submit(work, task)))
            if len(waiting) == _AHEAD:
                yield _answer(work, *waiting.popleft(), executor)
        while waiting:
            yield _answer(work, *waiting.popleft(), executor)
    except BrokenExecutor as error:
        raise TorreyError(
            f"dataset: workers die ({error}); complete shards are kept, run it again"
        ) from error
    finally:
        for _, future in waiting:
            future.cancel()


def _answer(work: Callable[[Task], Answer], task: Task, future: Future[Answer], executor: Executor) -> Answer:
    """Return what `future` gives, handing out its task again where a worker died."""
    for _ in range(_TRIES - 1):
        try:
            return future.result()
        except BrokenExecutor:
            future = executor.submit(work, task)
    return future.result()

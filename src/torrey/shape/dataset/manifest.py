"""What a data set holds, as `manifest.json` beside its shards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import FileError
from ...text_files import read_text, write_text
from ..families import SPLITS, AbstractFamily

FORMAT, VERSION = "torrey shapes", 1
FILE = "manifest.json"

_KINDS: dict[str, type | tuple[type, ...]] = {
    "family": str,
    "seed": int,
    "parameters": list,
    "splits": dict,
    "signals": (dict, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts that all shards of a data set share.

    Parameters
    ----------
    family : str
    seed : int
    parameters : list of str
        Names of the columns of the array `parameters`.
    splits : mapping of str to [first, end]
        Indices of "train", "validation" and "test", the end not included.
    signals : mapping or None
        What the signals are of, JSON-serialisable; None where the data set has none.
    """

    family: str
    seed: int
    parameters: list[str]
    splits: dict[str, list[int]]
    signals: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, family: AbstractFamily, *, seed: int, signals: Mapping[str, Any] | None) -> Manifest:
        """Return the manifest of shapes of `family` made with `seed`."""
        ranges = {name: family.split(name) for name in SPLITS}
        return cls(
            family=family.name,
            seed=seed,
            parameters=list(family.parameters),
            splits={name: [each.start, each.stop] for name, each in ranges.items()},
            # as JSON gives it back: lists for tuples
            signals=None if signals is None else json.loads(json.dumps(signals)),
        )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in `folder`.

    Raises
    ------
    FileError
        When there is none, or it is not one that this version reads.
    """
    path = folder / FILE
    try:
        values = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise FileError(f"{path}: line {error.lineno}: is not JSON ({error.msg})") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise FileError(f"{path}: format is {found!r:.40}, expected {FORMAT!r}")
    if values.get("version") != VERSION:
        raise FileError(f"{path}: version is {values.get('version')!r:.40}, expected {VERSION}")
    for name, kind in _KINDS.items():
        if name not in values or not isinstance(values[name], kind):
            raise FileError(f"{path}: {name} is {values.get(name)!r:.40}, expected what make_dataset writes")
    return Manifest(**{name: values[name] for name in _KINDS})


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of `folder`, whole or not at all."""
    values = {"format": FORMAT, "version": VERSION} | asdict(manifest)
    write_text(folder / FILE, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def require_same(folder: Path, found: Manifest, asked: Manifest) -> None:
    """Refuse to add shapes of `asked` to a data set of others; signals may come to one without any.

    Raises
    ------
    FileError
        With the field that differs.
    """
    for name in ("family", "seed", "parameters", "splits"):
        if getattr(found, name) != getattr(asked, name):
            raise FileError(
                f"{folder / FILE}: {name} is {getattr(found, name)}, expected {getattr(asked, name)}; "
                "a folder holds one data set"
            )
    if found.signals is not None and asked.signals is not None and found.signals != asked.signals:
        differ = [
            name
            for name in found.signals.keys() | asked.signals.keys()
            if found.signals.get(name) != asked.signals.get(name)
        ]
        name = min(differ)
        raise FileError(
            f"{folder / FILE}: signals.{name} is {found.signals.get(name)!r:.80}, "
            f"expected {asked.signals.get(name)!r:.80}; a data set holds signals of one kind"
        )

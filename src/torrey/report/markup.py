"""Pieces of HTML that the pages share; what comes from data is escaped here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files


def fill(template: str, parts: Mapping[str, str]) -> str:
    """Return `template` with {{name}} replaced by its part."""
    # one pass, so that a placeholder inside a value stays text
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def figures(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and numbers in a row."""
    return " ".join(f"<span>{escape(name)} <b>{escape(value)}</b></span>" for name, value in pairs)


def figure(caption: str, chart: str) -> str:
    """Return a chart with its caption."""
    return f"<figure><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of two columns."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tbody>{lines}</tbody></table>"


def json_text(value: object) -> str:
    """Return `value` as JSON that may stand in a script element."""
    # "<" ends a script element early; JSON may write it as an escape
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def package_text(name: str) -> str:
    """Return the text of a file beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")

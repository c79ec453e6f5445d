"""Dataclasses from TOML: every key known, every value of its type, else one line that names the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InputError

Made = TypeVar("Made")

_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a finite number"}


def made_from(cls: type[Made], values: Mapping[str, Any], *, name: str = "") -> Made:
    """Return the dataclass `cls` with the fields `values`; `name` is where they stand, dotted.

    Fields are numbers, texts, `Literal`, `tuple[X, ...]`, `Mapping[str, X]`, dataclasses, and their unions.

    Raises
    ------
    InputError
        When a field is unknown, missing or of the wrong type.
    """
    hints = get_type_hints(cls)
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    prefix = f"{name}." if name else ""
    for key in values:
        if key not in known:
            raise InputError(f"{prefix}{key}: unknown key; expected one of {', '.join(known)}")
    for key, field in known.items():
        if key not in values and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{prefix}{key}: is missing; expected {described(hints[key])}")
    made = {key: converted(hints[key], value, name=f"{prefix}{key}") for key, value in values.items()}
    try:
        return cls(**made)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from error


def converted(hint: Any, value: Any, *, name: str) -> Any:
    """Return `value` of a TOML file as the type `hint`; lists become tuples and whole numbers floats."""
    if is_dataclass(hint) and isinstance(value, dict):
        return made_from(hint, value, name=name)  # type: ignore[arg-type]
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and isinstance(value, list) and value:
        return tuple(converted(args[0], item, name=f"{name}[{k}]") for k, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {
            converted(args[0], key, name=name): converted(args[1], item, name=f"{name}.{key}")
            for key, item in value.items()
        }
    if origin in (Union, UnionType):
        kinds = [kind for kind in args if kind is not type(None)]
        # of several, one is for a list
        fitting = [kind for kind in kinds if (get_origin(kind) is tuple) == isinstance(value, list)]
        return converted(kinds[0] if len(kinds) == 1 else fitting[0], value, name=name)
    if _is_plain(hint, value):
        return float(value) if hint is float else value
    raise InputError(f"{name}: is {value!r}; expected {described(hint)}")


def _is_plain(hint: Any, value: object) -> bool:
    """Whether `value` is a text, number or truth value of the type `hint`; a whole number may be a float."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    return type(value) is hint


def described(hint: Any) -> str:
    """Return in words what values a type has."""
    origin, args = get_origin(hint), get_args(hint)
    if is_dataclass(hint):
        return f"a table with {', '.join(field.name for field in fields(hint))}"
    if origin is tuple:
        return f"a list, each {described(args[0])}"
    if origin is Mapping:
        return f"a table, each {described(args[1])}"
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (Union, UnionType):
        return " or ".join(described(item) for item in args if item is not type(None))
    return _NAMES[hint]

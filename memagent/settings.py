"""Settings as JSON and back: frozen dataclasses from what a file says, with every name and type checked."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

ConfigT = TypeVar("ConfigT")


def build(kind: type[ConfigT], settings: Any) -> ConfigT:
    """A dataclass from nested mappings; settings that are missing have their defaults.

    Raises:
        ValueError: a name that the dataclass has not, a value of another type, or one that it refuses itself.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{kind.__name__} is {reprlib.repr(settings)}; give its settings by name.")
    types = get_type_hints(kind)
    for name in settings:
        if name not in types:
            near = get_close_matches(str(name), types, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(types)}."
            raise ValueError(
                f"{kind.__name__} has no setting {name if str(name).isidentifier() else ascii(name)}; {hint}"
            )
    return kind(**{name: value_of(f"{kind.__name__}.{name}", types[name], v) for name, v in settings.items()})


def checked(config: ConfigT) -> ConfigT:
    """A dataclass's values as `build` takes them: Python's numbers in place of NumPy's.

    Raises:
        ValueError: a value of another type than its field's.
    """
    return build(type(config), {field.name: getattr(config, field.name) for field in fields(config)})  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """Python's number in place of NumPy's; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def as_config(name: str, kind: type[ConfigT], value: ConfigT | None) -> ConfigT:
    """A config that was given under a name, checked; None is the default one.

    Raises:
        ValueError: it is no such config, or holds a value of another type than its field's.
    """
    if value is None:
        return kind()
    if not isinstance(value, kind):
        off = "enabled=False" if value is False and hasattr(kind, "enabled") else "…"
        raise ValueError(f"{name} is {reprlib.repr(value)}; give {kind.__name__}({off}).")
    return checked(value)


def value_of(name: str, kind: Any, value: Any) -> Any:
    """A value of JSON as a setting of a type: a number, bool, string, path, choice, dataclass, or one of several.

    NumPy's numbers stand for Python's.

    Raises:
        ValueError: it is none, with its name.
    """
    value = plain(value)
    if is_dataclass(kind):
        return build(kind, value)  # type: ignore[arg-type]  # a class, not an instance
    if get_origin(kind) is tuple:  # of any number of one type, a list in JSON
        if isinstance(value, list | tuple):
            return tuple(value_of(name, get_args(kind)[0], part) for part in value)
        raise ValueError(f"{name} is {reprlib.repr(value)}; give a list.")
    for allowed in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if _is_of(allowed, value):
            return allowed(value) if allowed in (float, Path) else value
    raise ValueError(f"{name} is {reprlib.repr(value)}; give {_described(kind)}.")


def _is_of(kind: Any, value: Any) -> bool:
    """Whether JSON's value can stand for a type: an int for a float, never a bool for a number."""
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is Path:
        return isinstance(value, str)
    return type(value) is kind


def _described(kind: Any) -> str:
    """What a person may give for a type."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_described(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    names = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "a string",
        dict: "an object",
        list: "a list",
        Path: "a path",
        NoneType: "null",
    }
    return names[kind]

"""Settings as the words of a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def as_arguments(settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The words that set `settings`, nested by section, where `defaults` have others; "env" is left to the caller.

    Flags and values are written as tyro reads them: `--memory.kind none`, `--adapt.no-enabled`, values by name as JSON.
    """
    words: list[str] = []
    for name, value in settings.items():
        default = defaults.get(name)
        if (name == "env" and not prefix) or (name in defaults and value == default):
            continue
        flag = f"{prefix}{name}".replace("_", "-")
        if isinstance(value, Mapping) and isinstance(default, Mapping) and default:
            words += as_arguments(value, default, f"{flag}.")
        elif isinstance(value, bool):
            head, _, last = flag.rpartition(".")
            words.append(f"--{head}{'.' if head else ''}{'' if value else 'no-'}{last}")
        elif isinstance(value, Mapping):
            words += [f"--{flag}", json.dumps(value)]
        elif isinstance(value, list | tuple):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return words

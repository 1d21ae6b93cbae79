"""The JSON form of schedules: {"kind": class name, field: value, …}, nested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from envs.schedules.change_times import Between, Geometric, Listed, Periodic, Times
from envs.schedules.curves import Decay, Ramp, Sigmoid, Sine, Square
from envs.schedules.distributions import Choice, Distribution, Uniform
from envs.schedules.piecewise import Constant, Draw, Steps
from envs.schedules.random_walks import OrnsteinUhlenbeck, RandomWalk
from envs.schedules.schedule import Schedule

_TIMES = (Periodic, Listed, Geometric, Between)
_SMOOTH = (Ramp, Sigmoid, Sine, Square, Decay, RandomWalk, OrnsteinUhlenbeck)
_KINDS = {kind.__name__: kind for kind in (*_TIMES, Choice, Uniform, Constant, Steps, Draw, *_SMOOTH)}


def to_json(part: Schedule | Times | Distribution) -> dict[str, Any]:
    """The JSON form of a schedule or of a part of one."""
    data: dict[str, Any] = {"kind": type(part).__name__}
    for field in fields(part):
        value = getattr(part, field.name)
        data[field.name] = (
            to_json(value) if isinstance(value, Schedule | Times | Distribution) else _plain(value)
        )
    return data


def from_json(data: Mapping[str, Any]) -> Any:
    """The schedule, or the part of one, whose JSON form this is."""
    arguments = dict(data)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"Unknown schedule kind {kind!r}: expected one of {', '.join(_KINDS)}.")
    known = {field.name for field in fields(_KINDS[kind])}
    if not set(arguments) <= known:
        raise ValueError(f"{kind} has no field {sorted(set(arguments) - known)}: expected {sorted(known)}.")
    return _KINDS[kind](**{k: from_json(v) if isinstance(v, Mapping) else v for k, v in arguments.items()})


def _plain(value: Any) -> Any:
    """Tuples as lists and NumPy's numbers as Python's, as JSON has neither."""
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value

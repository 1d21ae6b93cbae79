"""When and how a parameter changes: pure, seeded functions of the lifetime step.

A schedule answers two questions about any lifetime step t = 0, 1, 2, …, in any order: the value in force when
step t runs, and the first later step at which that value may change. Randomness is keyed, never drawn from a
running generator: the k-th draw of a parameter is a function of (seed, name, k) alone, so that asking for step
10,000 first gives the same value.

Three parts compose. `Times` cut the lifetime into pieces k = 0, 1, 2, …; a `Source` gives the k-th value; a
`Schedule` joins them (`Draw`), lists its values (`Steps`), follows a curve (`envs.curves`) or wanders (`envs.walks`).
All are frozen dataclasses with a JSON form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from envs.curves import Decay, Ramp, Sigmoid, Sine, Square
from envs.paths import Path, Schedule
from envs.sources import Choice, Source, Uniform
from envs.times import Between, Geometric, Listed, Periodic, Pieces, Times, whole
from envs.walks import OrnsteinUhlenbeck, RandomWalk

__all__ = [
    "Between",
    "Choice",
    "Constant",
    "Decay",
    "Draw",
    "Geometric",
    "Listed",
    "OrnsteinUhlenbeck",
    "Path",
    "Periodic",
    "Ramp",
    "RandomWalk",
    "Schedule",
    "Sigmoid",
    "Sine",
    "Source",
    "Square",
    "Steps",
    "Times",
    "Uniform",
    "from_json",
    "to_json",
]


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value for ever."""

    constant: float

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.constant), float(self.constant)

    def bind(self, seed: int, name: str) -> _Constant:
        return _Constant(float(self.constant))


@dataclass(frozen=True)
class Steps(Schedule):
    """The listed values, one per piece; then from the first again (`cycle`) or the last one for ever."""

    values: tuple[float, ...]
    times: Times
    cycle: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values:
            raise ValueError("Steps(values=()): expected at least one value.")

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def bind(self, seed: int, name: str) -> Path:
        last = None if self.cycle else len(self.values) - 1
        return _Piecewise(self.times.bind(seed), lambda piece: self.values[piece % len(self.values)], last)


@dataclass(frozen=True)
class Draw(Schedule):
    """A random value per piece. With `recurring=n` only the first n draws exist and come round in turn."""

    source: Source
    times: Times
    recurring: int | None = None

    def __post_init__(self) -> None:
        if self.recurring is not None and (not whole(self.recurring) or self.recurring < 1):
            raise ValueError(
                f"Draw(recurring={self.recurring!r}): expected at least 1 value, a whole number, or None for new ones."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return self.source.bounds

    def bind(self, seed: int, name: str) -> Path:
        n = self.recurring

        def draw(piece: int) -> float:
            return self.source.draw(seed, name, piece if n is None else piece % n)

        return _Piecewise(self.times.bind(seed), draw)


class _Constant:
    """The path of a Constant."""

    rhythm = None

    def __init__(self, constant: float) -> None:
        self._constant = constant

    def value(self, step: int) -> float:
        return self._constant

    def next_change(self, step: int) -> int | None:
        return None


class _Piecewise:
    """A path that is constant within each piece; from piece `last` on it no longer moves."""

    def __init__(self, pieces: Pieces, draw: Callable[[int], float], last: int | None = None) -> None:
        self._pieces = pieces
        self._draw = draw
        self._last = last
        self.rhythm = (pieces, last)

    def value(self, step: int) -> float:
        piece = self._pieces.index(step)
        return self._draw(piece if self._last is None else min(piece, self._last))

    def next_change(self, step: int) -> int | None:
        piece = self._pieces.index(step)
        if self._last is not None and piece >= self._last:
            return None
        return self._pieces.start(piece + 1)


# --------------------------------------------------------------------------------------------------------------
# JSON form: {"kind": class name, field: value, …}, nested

_TIMES = (Periodic, Listed, Geometric, Between)
_SMOOTH = (Ramp, Sigmoid, Sine, Square, Decay, RandomWalk, OrnsteinUhlenbeck)
_KINDS = {kind.__name__: kind for kind in (*_TIMES, Choice, Uniform, Constant, Steps, Draw, *_SMOOTH)}


def to_json(part: Schedule | Times | Source) -> dict[str, Any]:
    """The JSON form of a schedule or of a part of one."""
    data: dict[str, Any] = {"kind": type(part).__name__}
    for field in fields(part):
        value = getattr(part, field.name)
        data[field.name] = to_json(value) if isinstance(value, Schedule | Times | Source) else _plain(value)
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
    """Tuples as lists, as JSON has no tuples."""
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value

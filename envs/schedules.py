"""When and how a parameter changes: pure, seeded functions of the lifetime step.

A schedule answers two questions about any lifetime step t = 0, 1, 2, …, in any order: the value in force when
step t runs, and the first later step at which that value may change. Randomness is keyed, never drawn from a
running generator: the k-th draw of a parameter is a function of (seed, name, k) alone, so that asking for step
10,000 first gives the same value.

Three parts compose. `Times` cut the lifetime into pieces k = 0, 1, 2, …; a `Source` gives the k-th value; a
`Schedule` joins them (`Draw`) or lists its values (`Steps`). All are frozen dataclasses with a JSON form.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Protocol

import numpy as np


def keyed(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that is a pure function of the seed and the key (names, or numbers from 0 to 2**32 - 1)."""
    spawn_key = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


# --------------------------------------------------------------------------------------------------------------
# Times: where the pieces of a lifetime begin


class Pieces(Protocol):
    """A lifetime cut into pieces: piece 0 begins at step 0, piece k at the k-th change."""

    def index(self, step: int) -> int:
        """The piece that holds lifetime step `step`."""

    def start(self, piece: int) -> int | None:
        """The first step of a piece; None when there are not so many."""


@dataclass(frozen=True)
class Times(ABC):
    """The lifetime steps at which a schedule moves on to its next piece."""

    @abstractmethod
    def bind(self, seed: int) -> Pieces:
        """The pieces of the lifetime with this seed."""


@dataclass(frozen=True)
class Periodic(Times):
    """A change every `every` steps: at every, 2 every, …"""

    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"Periodic(every={self.every}): expected a period of at least 1 step.")

    def bind(self, seed: int) -> Periodic:
        return self

    def index(self, step: int) -> int:
        return step // self.every

    def start(self, piece: int) -> int:
        return piece * self.every


@dataclass(frozen=True)
class Listed(Times):
    """Changes at the listed steps, which increase from at least 1."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if any(b <= a for a, b in zip((0, *self.steps), self.steps)):
            raise ValueError(f"Listed(steps={self.steps}): expected steps that increase from at least 1.")

    def bind(self, seed: int) -> Listed:
        return self

    def index(self, step: int) -> int:
        return bisect_right(self.steps, step)

    def start(self, piece: int) -> int | None:
        if piece == 0:
            return 0
        return self.steps[piece - 1] if piece <= len(self.steps) else None


@dataclass(frozen=True)
class Geometric(Times):
    """Memoryless changes: every step is a change with probability 1 / mean, so gaps are geometric with that mean.

    Parameters with the same `stream` change together, those with different streams independently.
    """

    mean: float
    stream: str = ""

    def __post_init__(self) -> None:
        if not self.mean >= 1:
            raise ValueError(f"Geometric(mean={self.mean}): expected a mean gap of at least 1 step.")

    def bind(self, seed: int) -> Pieces:
        return _drawn_pieces(self, seed)

    def gaps(self, seed: int, block: int, size: int) -> np.ndarray:
        """Block number `block` of the gaps between changes, int64 [size]."""
        return keyed(seed, "times", self.stream, block).geometric(1.0 / self.mean, size)


class _DrawnPieces:
    """Pieces from random gaps: cumulative sums, drawn block by block as far as they are asked for."""

    BLOCK = 64

    def __init__(self, times: Geometric, seed: int) -> None:
        self._times = times
        self._seed = seed
        self._starts = [0]

    def _extend(self) -> None:
        block = len(self._starts) // self.BLOCK
        gaps = self._times.gaps(self._seed, block, self.BLOCK)
        self._starts.extend((self._starts[-1] + np.cumsum(gaps)).tolist())

    def index(self, step: int) -> int:
        while self._starts[-1] <= step:
            self._extend()
        return bisect_right(self._starts, step) - 1

    def start(self, piece: int) -> int:
        while len(self._starts) <= piece:
            self._extend()
        return self._starts[piece]


@lru_cache(maxsize=4096)  # parameters that change together share one list of gaps
def _drawn_pieces(times: Geometric, seed: int) -> _DrawnPieces:
    return _DrawnPieces(times, seed)


# --------------------------------------------------------------------------------------------------------------
# Sources: the value of a piece


@dataclass(frozen=True)
class Source(ABC):
    """Where random values come from. `balanced` sources use their parts equally often, in keyed shuffled blocks."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value."""

    @abstractmethod
    def draw(self, seed: int, name: str, number: int) -> float:
        """Draw number `number` of parameter `name`: a pure function of its arguments."""


def _pick(count: int, balanced: bool, seed: int, name: str, number: int) -> int:
    """Which of `count` parts draw `number` takes: independent, or one shuffled block of all parts after another."""
    if not balanced:
        return int(keyed(seed, name, "pick", number).integers(count))
    block, position = divmod(number, count)
    return int(keyed(seed, name, "block", block).permutation(count)[position])


@dataclass(frozen=True)
class Choice(Source):
    """One of the listed values."""

    values: tuple[float, ...]
    balanced: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values:
            raise ValueError("Choice(values=()): expected at least one value to choose from.")

    @property
    def bounds(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    def draw(self, seed: int, name: str, number: int) -> float:
        return self.values[_pick(len(self.values), self.balanced, seed, name, number)]


@dataclass(frozen=True)
class Uniform(Source):
    """Uniform in one of the listed intervals [low, high], each interval as likely as any other."""

    intervals: tuple[tuple[float, float], ...]
    balanced: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "intervals", tuple((float(low), float(high)) for low, high in self.intervals)
        )
        if not self.intervals or any(not low <= high for low, high in self.intervals):
            raise ValueError(f"Uniform(intervals={self.intervals}): expected intervals with low <= high.")

    @property
    def bounds(self) -> tuple[float, float]:
        return min(low for low, _ in self.intervals), max(high for _, high in self.intervals)

    def draw(self, seed: int, name: str, number: int) -> float:
        low, high = self.intervals[_pick(len(self.intervals), self.balanced, seed, name, number)]
        return float(keyed(seed, name, "uniform", number).uniform(low, high))


# --------------------------------------------------------------------------------------------------------------
# Schedules: a value for every lifetime step


class Path(Protocol):
    """One parameter over one lifetime."""

    def value(self, step: int) -> float:
        """The value in force when lifetime step `step` runs."""

    def next_change(self, step: int) -> int | None:
        """The first step after `step` at which the value may differ; None when it never will."""


@dataclass(frozen=True)
class Schedule(ABC):
    """How one parameter moves over a lifetime."""

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest value it can take; equal when it never moves."""

    @abstractmethod
    def bind(self, seed: int, name: str) -> Path:
        """The path of parameter `name` in the lifetime with this seed."""

    def value(self, step: int, seed: int = 0, name: str = "") -> float:
        """The value at one lifetime step; `bind` first where many are needed."""
        return self.bind(seed, name).value(step)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value for ever. It is its own path."""

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
        if self.recurring is not None and self.recurring < 1:
            raise ValueError(
                f"Draw(recurring={self.recurring}): expected at least 1 value, or None for new ones."
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

    def __init__(self, constant: float) -> None:
        self._constant = constant

    def value(self, step: int) -> float:
        return self._constant

    def next_change(self, step: int) -> int | None:
        return None


class _Piecewise:
    """A path that is constant within each piece; from piece `last` on it no longer moves."""

    def __init__(self, pieces: Pieces, draw: Any, last: int | None = None) -> None:
        self._pieces = pieces
        self._draw = draw
        self._last = last

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

_KINDS = {
    kind.__name__: kind for kind in (Periodic, Listed, Geometric, Choice, Uniform, Constant, Steps, Draw)
}


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

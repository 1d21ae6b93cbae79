"""Where random values come from: keyed draws, pure functions of (seed, name, number)."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_COMPILED = 2**63
"""Seeds below it have compiled draws."""


@lru_cache(4096)
def _word(name: str) -> int:
    return zlib.crc32(name.encode())


def keyed(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that is a pure function of the seed and the key (names, or numbers from 0 to 2**32 - 1)."""
    spawn_key = [_word(part) if isinstance(part, str) else part for part in key]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def keyed_uniform(seed: int, name: str, kind: str, number: int, low: float, high: float) -> float:
    """`keyed(seed, name, kind, number).uniform(low, high)`, to the bit and fast."""
    if seed >= _COMPILED or number > 0xFFFFFFFF:
        return float(keyed(seed, name, kind, number).uniform(low, high))
    from envs.keyed import first_uniform  # here, as whoever draws nothing needs no compiler

    return low + (high - low) * first_uniform(seed, _word(name), _word(kind), number)


def keyed_below(seed: int, name: str, kind: str, number: int, bound: int) -> int:
    """`keyed(seed, name, kind, number).integers(bound)`, the same and fast, for a bound of at least 2."""
    if seed < _COMPILED and number <= 0xFFFFFFFF and bound < 0xFFFFFFFF:
        from envs.keyed import first_below

        drawn = first_below(seed, _word(name), _word(kind), number, bound)
        if drawn >= 0:
            return int(drawn)
    return int(keyed(seed, name, kind, number).integers(bound))


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
    if count == 1:
        return 0
    if not balanced:
        return keyed_below(seed, name, "pick", number, count)
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
        return keyed_uniform(seed, name, "uniform", number, low, high)

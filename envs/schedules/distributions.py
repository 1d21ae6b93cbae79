"""Where the random values of a schedule come from: distributions, drawn as pure functions of (seed, name, number)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from envs.keyed_random import keyed, keyed_below, keyed_uniform


@dataclass(frozen=True)
class Distribution(ABC):
    """Where random values come from. `balanced` ones use their parts equally often, in keyed shuffled blocks."""

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
class Choice(Distribution):
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
class Uniform(Distribution):
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

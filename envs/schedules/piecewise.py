"""Schedules that are constant, or constant between changes: listed values and random draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from envs.schedules.change_times import Segments, Times, whole
from envs.schedules.distributions import Distribution
from envs.schedules.schedule import SamplePath, Schedule


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
    """The listed values, one per segment; then from the first again (`cycle`) or the last one for ever."""

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

    def bind(self, seed: int, name: str) -> SamplePath:
        last = None if self.cycle else len(self.values) - 1
        return _Piecewise(
            self.times.bind(seed), lambda segment: self.values[segment % len(self.values)], last
        )


@dataclass(frozen=True)
class Draw(Schedule):
    """A random value per segment. With `recurring=n` only the first n draws exist and come round in turn."""

    source: Distribution
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

    def bind(self, seed: int, name: str) -> SamplePath:
        n = self.recurring

        def draw(segment: int) -> float:
            return self.source.draw(seed, name, segment if n is None else segment % n)

        return _Piecewise(self.times.bind(seed), draw)


class _Constant:
    """The sample path of a Constant."""

    change_key = None

    def __init__(self, constant: float) -> None:
        self._constant = constant

    def value(self, step: int) -> float:
        return self._constant

    def next_change(self, step: int) -> int | None:
        return None


class _Piecewise:
    """A sample path that is constant within a segment; from segment `last` on it no longer moves."""

    def __init__(self, segments: Segments, draw: Callable[[int], float], last: int | None = None) -> None:
        self._segments = segments
        self._draw = draw
        self._last = last
        self.change_key = (segments, last)

    def value(self, step: int) -> float:
        segment = self._segments.index(step)
        return self._draw(segment if self._last is None else min(segment, self._last))

    def next_change(self, step: int) -> int | None:
        segment = self._segments.index(step)
        if self._last is not None and segment >= self._last:
            return None
        return self._segments.start(segment + 1)

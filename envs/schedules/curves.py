"""Schedules that follow a curve: ramps, waves, decay.

Each has a closed form, counted from the lifetime's first step; `hold=k` samples it every k steps and holds the value in
between, so that phases of k steps exist.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

from envs.schedules.schedule import HeldPath, SamplePath, Schedule, check_hold


@dataclass(frozen=True)
class _Curve(Schedule):
    """A schedule with a closed form."""

    @abstractmethod
    def at(self, step: int) -> float:
        """The closed form."""

    def _bind(self, hold: int, last: float = math.inf) -> SamplePath:
        return HeldPath(self._within, hold, last)

    def _within(self, step: int) -> float:
        """The closed form within the bounds, which it can round past."""
        low, high = self.bounds
        return min(max(self.at(step), low), high)


@dataclass(frozen=True)
class Ramp(_Curve):
    """`start` until step `begin`, then on a straight line to `end` within `duration` steps, where it stays."""

    start: float
    end: float
    begin: int
    duration: int
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if self.begin < 0 or self.duration < 1:
            raise ValueError(
                f"Ramp(begin={self.begin}, duration={self.duration}): expected a step from 0 and at least 1 step."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return float(min(self.start, self.end)), float(max(self.start, self.end))

    def at(self, step: int) -> float:
        done = min(max((step - self.begin) / self.duration, 0.0), 1.0)
        return (1.0 - done) * self.start + done * self.end

    def bind(self, seed: int, name: str) -> SamplePath:
        return self._bind(self.hold, self.begin + self.duration)


@dataclass(frozen=True)
class Sigmoid(_Curve):
    """From `start` to `end` by the logistic function: half way at step `centre`, 95 % of it 3 `width` steps later."""

    start: float
    end: float
    centre: float
    width: float
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if not self.width > 0:
            raise ValueError(
                f"Sigmoid(width={self.width}): expected more than 0 steps; Steps changes at once."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return float(min(self.start, self.end)), float(max(self.start, self.end))

    def at(self, step: int) -> float:
        done = 0.5 + 0.5 * math.tanh(
            0.5 * (step - self.centre) / self.width
        )  # the logistic function, without overflow
        return (1.0 - done) * self.start + done * self.end

    def bind(self, seed: int, name: str) -> SamplePath:
        return self._bind(self.hold, self.centre + 40.0 * self.width)  # there tanh is 1 to the last bit


@dataclass(frozen=True)
class Sine(_Curve):
    """centre + amplitude · sin(2π (step / period + phase)); `phase` in turns."""

    centre: float
    amplitude: float
    period: float
    phase: float = 0.0
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if not self.period > 0:
            raise ValueError(f"Sine(period={self.period}): expected more than 0 steps.")

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.centre - abs(self.amplitude)), float(self.centre + abs(self.amplitude))

    def at(self, step: int) -> float:
        turns = math.fmod(step / self.period + self.phase, 1.0)
        return self.centre + self.amplitude * math.sin(2 * math.pi * turns)

    def bind(self, seed: int, name: str) -> SamplePath:
        return self._bind(self.hold)


@dataclass(frozen=True)
class Square(_Curve):
    """`high` for the first `duty` of every `period` steps (rounded to whole steps), `low` for the rest."""

    low: float
    high: float
    period: int
    duty: float = 0.5

    def __post_init__(self) -> None:
        if self.period < 2 or not 0 < self._edge < self.period:
            raise ValueError(
                f"Square(period={self.period}, duty={self.duty}): expected both parts to last at least 1 step."
            )

    @property
    def _edge(self) -> int:
        return round(self.duty * self.period)

    @property
    def bounds(self) -> tuple[float, float]:
        return float(min(self.low, self.high)), float(max(self.low, self.high))

    def at(self, step: int) -> float:
        return float(self.high if step % self.period < self._edge else self.low)

    def bind(self, seed: int, name: str) -> SamplePath:
        return _SquarePath(self)

    def next_edge(self, step: int) -> int:
        """The first step after `step` at which the value changes."""
        within = step % self.period
        return step - within + (self._edge if within < self._edge else self.period)


class _SquarePath:
    """The sample path of a Square, the same in every lifetime."""

    def __init__(self, wave: Square) -> None:
        self._wave = wave
        self.change_key = self

    def value(self, step: int) -> float:
        return self._wave.at(step)

    def next_change(self, step: int) -> int | None:
        return self._wave.next_edge(step) if self._wave.low != self._wave.high else None


@dataclass(frozen=True)
class Decay(_Curve):
    """end + (start − end) · ½ ** (step / half_life)."""

    start: float
    end: float
    half_life: float
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if not self.half_life > 0:
            raise ValueError(f"Decay(half_life={self.half_life}): expected more than 0 steps.")

    @property
    def bounds(self) -> tuple[float, float]:
        return float(min(self.start, self.end)), float(max(self.start, self.end))

    def at(self, step: int) -> float:
        return self.end + (self.start - self.end) * 0.5 ** (step / self.half_life)

    def bind(self, seed: int, name: str) -> SamplePath:
        return self._bind(self.hold)

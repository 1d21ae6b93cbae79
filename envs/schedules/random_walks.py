"""Schedules that wander: a random walk between bounds, and one that is pulled back to its mean.

Both are functions of (seed, name, step) alone: their increments are keyed blocks of normal numbers, added up as far as
they are asked for. `hold=k` moves them every k steps, so that phases of k steps exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from envs.keyed_random import keyed
from envs.schedules.schedule import HeldPath, SamplePath, Schedule, check_hold


class _RandomSequence:
    """A sequence x_0, x_1, … from standard normal numbers, drawn block by block as far as it is asked for."""

    BLOCK = 64

    def __init__(
        self, seed: int, name: str, kind: str, after: Callable[[float | None, float], float]
    ) -> None:
        self._key = (seed, name, kind)
        self._after = after
        self._values: list[float] = []

    def __call__(self, number: int) -> float:
        seed, name, kind = self._key
        while len(self._values) <= number:
            noise = keyed(seed, name, kind, len(self._values) // self.BLOCK).standard_normal(self.BLOCK)
            for z in noise.tolist():
                self._values.append(self._after(self._values[-1] if self._values else None, z))
        return self._values[number]


@dataclass(frozen=True)
class RandomWalk(Schedule):
    """From `start`, every `hold` steps a normal increment of standard deviation `scale`, reflected at low and high."""

    start: float
    scale: float
    low: float
    high: float
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if not self.low <= self.start <= self.high or not self.low < self.high or self.scale < 0:
            raise ValueError(
                f"RandomWalk(start={self.start}, scale={self.scale}, low={self.low}, high={self.high}): expected "
                "low <= start <= high with low < high, and a scale of at least 0."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def bind(self, seed: int, name: str) -> SamplePath:
        walk = _RandomSequence(seed, name, "walk", self._after)
        return HeldPath(lambda step: walk(step // self.hold), self.hold)

    def _after(self, value: float | None, z: float) -> float:
        if value is None:
            return float(self.start)
        width = self.high - self.low
        folded = (value + self.scale * z - self.low) % (2 * width)  # a mirror at either end
        return self.low + min(folded, 2 * width - folded)


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Schedule):
    """A random value that is pulled back to `mean`: stationary, of standard deviation `scale`, cut off at low and high.

    Values that are t steps apart have the correlation exp(−t / time_constant), exactly, at any `hold` (Uhlenbeck and
    Ornstein 1930). The first is drawn from the stationary distribution. Cut off is what is seen, not the process.
    """

    mean: float
    scale: float
    time_constant: float
    low: float
    high: float
    hold: int = 1

    def __post_init__(self) -> None:
        check_hold(self, self.hold)
        if not self.low <= self.mean <= self.high or not self.low < self.high or self.scale < 0:
            raise ValueError(
                f"OrnsteinUhlenbeck(mean={self.mean}, scale={self.scale}, low={self.low}, high={self.high}): expected "
                "low <= mean <= high with low < high, and a scale of at least 0."
            )
        if not self.time_constant > 0:
            raise ValueError(
                f"OrnsteinUhlenbeck(time_constant={self.time_constant}): expected more than 0 steps."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        return float(self.low), float(self.high)

    def bind(self, seed: int, name: str) -> SamplePath:
        process = _RandomSequence(seed, name, "ornstein-uhlenbeck", self._after)
        return HeldPath(lambda step: min(max(process(step // self.hold), self.low), self.high), self.hold)

    def _after(self, value: float | None, z: float) -> float:
        if value is None:
            return self.mean + self.scale * z
        kept = math.exp(-self.hold / self.time_constant)
        return self.mean + kept * (value - self.mean) + math.sqrt(1.0 - kept * kept) * self.scale * z

"""What every schedule is, and its sample path: the values of one parameter in the lifetime with one seed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol

from envs.schedules.change_times import whole


class SamplePath(Protocol):
    """The values of one parameter over one lifetime, as a function of the step."""

    @property
    def change_key(self) -> Hashable:
        """Equal for paths that change at the same steps, so that these are looked for once; None where none change."""

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
    def bind(self, seed: int, name: str) -> SamplePath:
        """The sample path of parameter `name` in the lifetime with this seed."""

    def value(self, step: int, seed: int = 0, name: str = "") -> float:
        """The value at one lifetime step; `bind` first where many are needed."""
        return self.bind(seed, name).value(step)


class HeldPath:
    """The sample path of a function of the step, sampled every `hold` steps; from step `last` on it no longer moves."""

    def __init__(self, function: Callable[[int], float], hold: int, last: float = math.inf) -> None:
        self._function = function
        self._hold = hold
        self._last = last
        self.change_key = (hold, last)

    def value(self, step: int) -> float:
        return self._function(step - step % self._hold)

    def next_change(self, step: int) -> int | None:
        change = step - step % self._hold + self._hold
        return change if change < self._last + self._hold else None


def check_hold(schedule: Schedule, hold: int) -> None:
    """Refuses to hold values for less than a step, or for part of one."""
    if not whole(hold) or hold < 1:
        raise ValueError(
            f"{type(schedule).__name__}(hold={hold}): expected to hold values for at least 1 step, a whole number."
        )

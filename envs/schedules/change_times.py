"""When values change: a lifetime cut into segments at periodic, listed or random steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np

from envs.keyed_random import keyed

LONGEST = 10**12  # steps between two changes; more would overflow within a lifetime


class Segments(Protocol):
    """A lifetime cut into segments: segment 0 begins at step 0, segment k at the k-th change."""

    def index(self, step: int) -> int:
        """The segment that holds lifetime step `step`."""

    def start(self, segment: int) -> int | None:
        """The first step of a segment; None when there are not so many."""


def whole(*counts: object) -> bool:
    """Whether all of them are whole numbers: half a step never comes."""
    return all(isinstance(count, int | np.integer) for count in counts)


@dataclass(frozen=True)
class Times(ABC):
    """The lifetime steps at which a schedule moves on to its next segment."""

    @abstractmethod
    def bind(self, seed: int) -> Segments:
        """The segments of the lifetime with this seed."""


@dataclass(frozen=True)
class Periodic(Times):
    """A change every `every` steps: at every, 2 every, …"""

    every: int

    def __post_init__(self) -> None:
        if not whole(self.every) or not 1 <= self.every <= LONGEST:
            raise ValueError(
                f"Periodic(every={self.every!r}): expected a period of at least 1 step, a whole number, and no "
                f"more than {LONGEST:,}."
            )

    def bind(self, seed: int) -> Periodic:
        return self

    def index(self, step: int) -> int:
        return step // self.every

    def start(self, segment: int) -> int:
        return segment * self.every


@dataclass(frozen=True)
class Listed(Times):
    """Changes at the listed steps, which increase from at least 1."""

    steps: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        if not whole(*self.steps) or any(b <= a for a, b in pairwise((0, *self.steps))):
            raise ValueError(
                f"Listed(steps={self.steps}): expected whole numbers of steps that increase from at least 1."
            )

    def bind(self, seed: int) -> Listed:
        return self

    def index(self, step: int) -> int:
        return bisect_right(self.steps, step)

    def start(self, segment: int) -> int | None:
        if segment == 0:
            return 0
        return self.steps[segment - 1] if segment <= len(self.steps) else None


@dataclass(frozen=True)
class Geometric(Times):
    """Memoryless changes: every step is a change with probability 1 / mean, so gaps are geometric with that mean.

    Parameters with the same `stream` change together, those with different streams independently.
    """

    mean: float
    stream: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.mean <= LONGEST:
            raise ValueError(
                f"Geometric(mean={self.mean}): expected a mean gap of at least 1 step and at most {LONGEST:,}."
            )

    def bind(self, seed: int) -> Segments:
        return _random_segments(self, seed)

    def gaps(self, seed: int, block: int, size: int) -> np.ndarray:
        """Block number `block` of the gaps between changes, int64 [size]."""
        return keyed(seed, "times", self.stream, block).geometric(1.0 / self.mean, size)


@dataclass(frozen=True)
class Between(Times):
    """Changes after gaps drawn from `shortest` to `longest` steps, each as likely as any other.

    Parameters with the same `stream` change together, as with Geometric.
    """

    shortest: int
    longest: int
    stream: str = ""

    def __post_init__(self) -> None:
        if not whole(self.shortest, self.longest) or not 1 <= self.shortest <= self.longest:
            raise ValueError(
                f"Between({self.shortest!r}, {self.longest!r}): expected 1 <= shortest <= longest steps, whole numbers."
            )

    def bind(self, seed: int) -> Segments:
        return _random_segments(self, seed)

    def gaps(self, seed: int, block: int, size: int) -> np.ndarray:
        """Block number `block` of the gaps between changes, int64 [size]."""
        return keyed(seed, "times", self.stream, block).integers(self.shortest, self.longest + 1, size)


class _RandomSegments:
    """Segments of random lengths: cumulative sums, drawn block by block as far as they are asked for."""

    BLOCK = 64

    def __init__(self, times: Geometric | Between, seed: int) -> None:
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

    def start(self, segment: int) -> int:
        while len(self._starts) <= segment:
            self._extend()
        return self._starts[segment]


@lru_cache(maxsize=4096)  # parameters that change together share one list of gaps
def _random_segments(times: Geometric | Between, seed: int) -> _RandomSegments:
    return _RandomSegments(times, seed)

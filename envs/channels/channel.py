"""What the channels share: a channel changes one signal between agent and environment.

It names its parameters, is set to a context's values, and maps its signal. Where a setting leaves the signal as it is,
the map is None, so that a channel that does nothing costs nothing. Random numbers are a function of the seed; they and
delayed signals are the channel's state.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from envs.keyed_random import keyed


@dataclass(frozen=True)
class Parameter:
    """What a drifting parameter is: its unit, its meaning, and whether it must stay above 0."""

    unit: str
    meaning: str
    positive: bool


class Channel(ABC):
    """A signal that may be changed on its way.

    Attributes:
        parameters: what can drift.
        random: those of them that draw random numbers, each from a generator of its own.
        map: what happens to the signal now; None: nothing.
    """

    parameters: ClassVar[Mapping[str, Parameter]]
    random: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.map: Callable[[Any], Any] | None = None
        self.rng = {name: keyed(0, name) for name in self.random}

    @abstractmethod
    def check(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        """Refuses, in one sentence, parameters that this signal cannot have; takes note of the others' bounds."""

    @abstractmethod
    def set(self, context: Mapping[str, float]) -> None:
        """Sets the values of a context."""

    def seed(self, seed: int) -> None:
        """Starts the random numbers anew, as a function of the seed."""
        self.rng = {name: keyed(seed, name) for name in self.random}

    def begin(self) -> None:  # noqa: B027 most channels have nothing to forget
        """An episode begins."""

    def get_state(self) -> dict[str, Any]:
        """Random numbers and signals on their way, as plain values."""
        return {"random": {name: dict(rng.bit_generator.state) for name, rng in self.rng.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        for name, rng in self.rng.items():
            rng.bit_generator.state = dict(state["random"][name])


class Delay:
    """A signal that arrives some steps late; until the first has, that first is there already."""

    def __init__(self) -> None:
        self.steps = 0
        self._longest = 0
        self._past: deque[Any] = deque()

    def reserve(self, steps: float) -> None:
        """Keeps as many signals as a delay of that many steps needs."""
        self._longest = max(self._longest, int(steps))

    def set(self, steps: float, name: str) -> None:
        """How late, from now on."""
        if steps < 0 or steps != int(steps):
            raise ValueError(f"{name}={steps}: expected a whole number of steps from 0.")
        self.steps = int(steps)
        self.reserve(steps)

    def __call__(self, signal: Any) -> Any:
        past = self._past
        past.append(np.copy(signal) if isinstance(signal, np.ndarray) else signal)
        while len(past) > self._longest + 1:
            past.popleft()
        return past[max(len(past) - 1 - self.steps, 0)]

    def clear(self) -> None:
        """An episode begins: nothing is on its way."""
        self._past.clear()

    def get_state(self) -> list[Any]:
        """What is on its way, as plain values."""
        return [np.asarray(signal).tolist() for signal in self._past]

    def set_state(self, past: Iterable[Any], dtype: Any) -> None:
        """Goes on exactly where `get_state` was called."""
        self._past = deque(np.asarray(signal, dtype)[()] for signal in past)
        self.reserve(len(self._past) - 1)


def permutation(number: float, size: int, name: str) -> list[int]:
    """Permutation `number` of 0 … size − 1, in lexicographic order: 0 leaves everything where it is."""
    if number != int(number) or not 0 <= number < math.factorial(size):
        raise ValueError(
            f"{name}={number}: expected a whole number from 0 to {size}! − 1, as there are {size} entries."
        )
    if not number:
        return list(range(size))
    left, rest, order = list(range(size)), int(number), []
    for place in range(size, 0, -1):
        index, rest = divmod(rest, math.factorial(place - 1))
        order.append(left.pop(index))
    return order


def sign_of(context: Mapping[str, float], name: str) -> float:
    """A sign, which is −1 or 1."""
    sign = context.get(name, 1.0)
    if sign not in (-1.0, 1.0):
        raise ValueError(f"{name}={sign}: expected −1 or 1.")
    return sign


def share_of(context: Mapping[str, float], name: str) -> float:
    """A probability."""
    share = context.get(name, 0.0)
    if not 0 <= share <= 1:
        raise ValueError(f"{name}={share}: expected a probability from 0 to 1.")
    return share


def size_of(context: Mapping[str, float], name: str, what: str = "a standard deviation") -> float:
    """A number that is not negative."""
    size = context.get(name, 0.0)
    if not size >= 0:
        raise ValueError(f"{name}={size}: expected {what} of at least 0.")
    return size

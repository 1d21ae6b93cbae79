"""What many environments of one kind need to step in one compiled call: their dynamics as functions of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STATE = 6
"""Numbers in a state of any kind; further ones are 0."""
COLUMNS = 20
"""Constants of any kind; further ones are 0."""
Sampler = Callable[[np.random.Generator, np.ndarray], object]
"""Fills an array of float64 with random numbers; n of them at once are those of n calls."""


def uniform(generator: np.random.Generator, out: np.ndarray) -> None:
    """Numbers in [0, 1), of which `Generator.uniform` makes its own."""
    generator.random(out=out)


def state_of(env: Any) -> list[float]:
    """The numbers of the attribute `state`."""
    return [float(number) for number in env.state]


def set_state_of(
    *reset: str, size: int = 4, dtype: type[np.floating] = np.float64
) -> Callable[[Any, np.ndarray], None]:
    """A function that writes `size` numbers to the attribute `state`, and None to the attributes `reset`."""

    def write(env: Any, state: np.ndarray) -> None:
        env.state = state[:size].astype(dtype)
        for name in reset:
            setattr(env, name, None)

    return write


def knows_all(env: Any) -> bool:
    """For environments of which every setting is known."""
    return True


@dataclass(frozen=True)
class BatchedDynamics:
    """The dynamics of one kind of environment, to the bit what the environment itself computes.

    `move`, `start` and `observe` are plain functions that Numba can compile, with the functions that they call. They
    work on row e of state [E, S] and of columns [E, P], float64. Rows are indexed, never cut out: a view costs more
    than a step of CartPole. Sums and products stand in the order of the environment's own expressions, and what it
    computes in single precision is computed so here.

    Attributes:
        move: one step, (state, e, action [A], columns, two) → reward, terminated. The action is the one that reaches
            the plant, a discrete one as its number. `two` is 2, read at run time, so that `x**two` is the library's
            power, as it is in Python.
        start: the first state of an episode, (state, e, drawn [E, …], first): from the numbers drawn[e, first:];
            entries that it does not write are 0.
        observe: what the environment observes of its state, (state, e, out [O]), float32.
        columns: the constants [P], read from an environment in which the context is set.
        reads: random numbers of a reset.
        write: puts a state [S] into an environment.
        read: the state of an environment.
        draw: the distribution of the random numbers.
        knows: whether nothing is set in an environment that these functions do not know.
        unknown: parameters of the plant that they do not know.
    """

    move: Callable[..., tuple[float, bool]]
    start: Callable[..., None]
    observe: Callable[..., None]
    columns: Callable[[Any], Sequence[float]]
    reads: int
    write: Callable[[Any, np.ndarray], None]
    read: Callable[[Any], Sequence[float]] = state_of
    draw: Sampler = uniform
    knows: Callable[[Any], bool] = knows_all
    unknown: frozenset[str] = frozenset()

"""Buffers of random numbers: E generators, read by compiled code, to the bit as if each number were drawn when read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.plants.dynamics import Sampler


class RandomBuffer:
    """The next numbers of E generators.

    Attributes:
        numbers: [E, size] of float64. The reader keeps the positions; a row that was read to its end is refilled.
    """

    def __init__(self, draw: Sampler, num_envs: int, per_read: int) -> None:
        """Sets up empty rows.

        Args:
            draw: the distribution.
            num_envs: E.
            per_read: numbers that are read at a time; rows are whole multiples of it.
        """
        self._draw = draw
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._origins: list[Mapping[str, Any]] = [{} for _ in range(num_envs)]
        reads = min(max(128, 2**14 // num_envs), 1024)  # refills cost little, and the rows stay in the cache
        self.numbers = np.zeros((num_envs, reads * per_read))

    def begin(self, env: int, generator: np.random.Generator) -> None:
        """Lets environment `env` read from this generator, which is the row's own from now on."""
        self._generators[env] = generator
        self.refill(env)

    def started(self, env: int) -> bool:
        """Whether the environment has a generator."""
        return self._generators[env] is not None

    def refill(self, env: int) -> None:
        """The numbers after those in the row; its reader begins at position 0."""
        generator = self._generators[env]
        assert generator is not None
        self._origins[env] = generator.bit_generator.state
        self._draw(generator, self.numbers[env])

    def generator(self, env: int, position: int) -> np.random.Generator:
        """A copy of the generator as it is after `position` numbers of the row were read."""
        copy = np.random.Generator(np.random.PCG64())
        copy.bit_generator.state = self._origins[env]
        self._draw(copy, np.empty(position))
        return copy


def normal(generator: np.random.Generator, out: np.ndarray) -> None:
    """Standard normal numbers."""
    generator.standard_normal(out=out)

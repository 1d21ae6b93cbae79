"""Random numbers that are pure functions of a seed and a key, whatever was drawn before."""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

_COMPILED = 2**63
"""Seeds below it have compiled draws."""


@lru_cache(4096)
def word(name: str) -> int:
    """The number that stands for a name in a key."""
    return zlib.crc32(name.encode())


def keyed(seed: int, *key: str | int) -> np.random.Generator:
    """A generator that is a pure function of the seed and the key (names, or numbers from 0 to 2**32 - 1)."""
    spawn_key = [word(part) if isinstance(part, str) else part for part in key]
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=spawn_key))


def keyed_uniform(seed: int, name: str, kind: str, number: int, low: float, high: float) -> float:
    """`keyed(seed, name, kind, number).uniform(low, high)`, to the bit and fast."""
    if seed >= _COMPILED or number > 0xFFFFFFFF:
        return float(keyed(seed, name, kind, number).uniform(low, high))
    from envs.keyed_random.first_draws import first_uniform  # here, so that `import envs` needs no compiler

    return low + (high - low) * first_uniform(seed, word(name), word(kind), number)


def keyed_below(seed: int, name: str, kind: str, number: int, bound: int) -> int:
    """`keyed(seed, name, kind, number).integers(bound)`, the same and fast, for a bound of at least 1."""
    if seed < _COMPILED and number <= 0xFFFFFFFF and bound < 0xFFFFFFFF:
        from envs.keyed_random.first_draws import first_below

        drawn = first_below(seed, word(name), word(kind), number, bound)
        if drawn >= 0:
            return int(drawn)
    return int(keyed(seed, name, kind, number).integers(bound))

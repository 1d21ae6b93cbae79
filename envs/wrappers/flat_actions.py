"""FlatActions makes one Discrete action of several: every combination has a number."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

MOST_COMBINATIONS = 1_024
"""A network for Discrete actions has an output for each."""


class FlatActions(gym.ActionWrapper, RecordConstructorArgs):
    """MultiDiscrete or MultiBinary actions as one Discrete action, whose numbers count the last part fastest.

    Args:
        env: the environment.

    Raises:
        ValueError: its actions are of another kind, or have more than MOST_COMBINATIONS.
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        count = combinations(env.action_space)
        if count is None or count > MOST_COMBINATIONS:
            raise ValueError(
                f"FlatActions was given the action space {env.action_space}, expected a MultiDiscrete or MultiBinary "
                f"of at most {MOST_COMBINATIONS:,} combinations: leave some of them out by a gymnasium.ActionWrapper."
            )
        self._sizes = _sizes(env.action_space)
        self._start = env.action_space.start if isinstance(env.action_space, spaces.MultiDiscrete) else 0
        self.action_space = spaces.Discrete(count)

    def action(self, action: int) -> np.ndarray:
        """The combination with this number, as the environment takes it."""
        space = self.env.action_space
        parts = np.array(np.unravel_index(int(action), self._sizes)).reshape(space.shape)
        return (parts + self._start).astype(space.dtype)


def combinations(space: spaces.Space) -> int | None:
    """How many actions a MultiDiscrete or MultiBinary has; None of other spaces."""
    if isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        return math.prod(_sizes(space))
    return None


def _sizes(space: spaces.Space) -> list[int]:
    """How many values every part has."""
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel().tolist()
    return [2] * spaces.flatdim(space)

"""Sensors leaves some entries of an observation: a plant is seen through the instruments it has."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class Sensors(gym.ObservationWrapper, RecordConstructorArgs):
    """The observation's entries `seen`, in that order.

    Args:
        env: an environment with one-dimensional Box observations.
        seen: indices into the observation.

    Raises:
        ValueError: for other observations, or an index outside them.
    """

    def __init__(self, env: gym.Env, seen: Sequence[int]) -> None:
        RecordConstructorArgs.__init__(self, seen=list(seen))
        gym.ObservationWrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"Sensors needs a one-dimensional Box to choose from and got {space}.")
        if not seen or not all(0 <= i < space.shape[0] for i in seen):
            raise ValueError(f"seen={list(seen)}: expected indices from 0 to {space.shape[0] - 1}.")
        self.seen = np.array(seen)
        self.observation_space = spaces.Box(
            space.low[self.seen], space.high[self.seen], dtype=space.dtype.type
        )

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[self.seen]

"""Players that are not agents of ours: any model with SB3's `predict`, and random actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces


class Model(Protocol):
    """What acts by SB3's `predict`: a model of Stable-Baselines3 or sb3-contrib, recurrent or not."""

    def predict(
        self,
        observation: np.ndarray,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions [E, ...] for observations [E, O], and the recurrent state, None where there is none."""


class PredictPlayer:
    """Any SB3 model as a player, its recurrent state carried on and emptied where an episode starts.

    Args:
        model: who acts.
        num_envs: in how many environments.
        deterministic: by its best actions, else by actions sampled as in training.
    """

    def __init__(self, model: Model, num_envs: int, deterministic: bool = True) -> None:
        self.model, self.deterministic = model, deterministic
        self.state: tuple[np.ndarray, ...] | None = None
        self.episode_start = np.ones(num_envs, bool)

    def act(self, obs: np.ndarray) -> np.ndarray:
        actions, self.state = self.model.predict(obs, self.state, self.episode_start, self.deterministic)
        return actions

    def observe(
        self, action: np.ndarray, reward: np.ndarray, done: np.ndarray, infos: Sequence[Mapping[str, Any]]
    ) -> None:
        self.episode_start = done.copy()


class RandomPlayer:
    """Actions drawn from an action space.

    Args:
        space: of one environment; left as it is.
        num_envs: how many environments.
        seed: of the actions.
    """

    def __init__(self, space: spaces.Space, num_envs: int, seed: int) -> None:
        self.space, self.num_envs = deepcopy(space), num_envs
        self.space.seed(seed)

    def act(self, obs: np.ndarray) -> np.ndarray:
        return np.array([self.space.sample() for _ in range(self.num_envs)])

    def observe(
        self, action: np.ndarray, reward: np.ndarray, done: np.ndarray, infos: Sequence[Mapping[str, Any]]
    ) -> None:
        """Nothing is learned."""

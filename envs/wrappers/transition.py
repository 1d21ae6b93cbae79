"""TransitionObservation shows an agent its last transition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs


class TransitionObservation(gym.Wrapper, RecordConstructorArgs):
    """Appends the last transition to the observation: change, action, reward.

    obs [2 O + A + 2], float32:

        observation [O]: the environment's observation;
        change [O]: change_scale · (this observation − the previous one), zeros at an episode's start;
        action [A]: the previous action, one-hot where actions are discrete, zeros at a start;
        reward [1]: the previous reward, 0 at a start;
        start [1]: 1 at an episode's first observation.

    `transition_layout` names these parts: {"observation": (from, to), …}. The change is scaled to order one because
    a change of 0.04 in a velocity of several units is invisible to a network otherwise.
    """

    def __init__(self, env: gym.Env, change_scale: float | Sequence[float] = 10.0) -> None:
        """Wraps an environment with Box observations and Box or Discrete actions.

        Args:
            env: the environment.
            change_scale: one factor, or one for each of the O entries of the observation.
        """
        given = np.asarray(change_scale, np.float64)
        scale: float | list[float] = given.tolist()
        RecordConstructorArgs.__init__(self, change_scale=scale)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.observation_space, spaces.Box):
            raise ValueError(f"TransitionObservation needs Box observations and got {env.observation_space}.")
        if not isinstance(env.action_space, spaces.Box | spaces.Discrete):
            raise ValueError(
                f"TransitionObservation needs Box or Discrete actions and got {env.action_space}."
            )
        self._discrete = env.action_space if isinstance(env.action_space, spaces.Discrete) else None
        self._o, self._a = spaces.flatdim(env.observation_space), spaces.flatdim(env.action_space)
        self.change_scale = given.astype(np.float32)
        if self.change_scale.shape not in ((), (1,), (self._o,)):
            raise ValueError(
                f"change_scale has shape {self.change_scale.shape}: expected a number or {self._o} of them."
            )
        if not (np.isfinite(self.change_scale) & (self.change_scale > 0)).all():
            raise ValueError(f"change_scale is {scale}: expected finite numbers above 0.")
        edges = np.cumsum([0, self._o, self._o, self._a, 1, 1]).tolist()
        names = ("observation", "change", "action", "reward", "start")
        self.transition_layout: dict[str, tuple[int, int]] = dict(zip(names, pairwise(edges), strict=True))
        self.observation_space = self._space(env.observation_space, env.action_space)
        self._previous = np.zeros(self._o, np.float32)

    def _space(self, observed: spaces.Box, actions: spaces.Space) -> spaces.Box:
        low, high = observed.low.ravel().astype(np.float64), observed.high.ravel().astype(np.float64)
        reach = self.change_scale * (high - low)
        a_low, a_high = (actions.low, actions.high) if isinstance(actions, spaces.Box) else (0.0, 1.0)
        a_low, a_high = (np.broadcast_to(np.ravel(bound), self._a) for bound in (a_low, a_high))
        lows = np.concatenate([low, -reach, np.minimum(a_low, 0), [-np.inf, 0]])
        highs = np.concatenate([high, reach, np.maximum(a_high, 0), [np.inf, 1]])
        return spaces.Box(lows.astype(np.float32), highs.astype(np.float32), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        full = np.zeros(2 * self._o + self._a + 2, np.float32)
        full[: self._o] = np.ravel(observation)
        full[-1] = 1.0
        self._previous = full[: self._o].copy()
        return full, info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        o, a = self._o, self._a
        full = np.zeros(2 * o + a + 2, np.float32)
        full[:o] = np.ravel(observation)
        full[o : 2 * o] = self.change_scale * (full[:o] - self._previous)
        if self._discrete is None:
            full[2 * o : 2 * o + a] = np.ravel(action)
        else:
            full[2 * o + int(action) - int(self._discrete.start)] = 1.0
        number = np.asarray(reward, np.float64)
        if number.size != 1:
            raise ValueError(
                f"The reward is {reward}, expected one number: weigh several into one by a gymnasium.RewardWrapper "
                "inside TransitionObservation."
            )
        full[-2] = number.item()
        self._previous = full[:o].copy()
        return full, number.item(), terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """The previous observation, as plain values that JSON can hold."""
        return {"previous": self._previous.tolist()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self._previous = np.array(state["previous"], np.float32)

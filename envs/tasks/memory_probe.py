"""What the memory probes share: an episode that is written down when it begins, and read out step by step."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Script(NamedTuple):
    """An episode of T steps."""

    shown: np.ndarray  # [T + 1, O] float32, the observations, the one after the last step included
    answers: np.ndarray  # [T] int, the right action, and −1 where nothing is asked
    silent: np.ndarray  # [T] bool, whether action 0 has to be taken to earn with the answers that follow


class Probe(gym.Env, ABC):
    """Shows values, asks for them later, and pays 1 for a right answer. The info of an episode's last step has
    "share_right", the share of right answers.

    An answer counts only if action 0 was taken in the last silent step before it. So nothing can be passed on by
    actions, which an agent sees again in TransitionObservation: after silence they say the same whatever was seen.

    Action: the value, one of `num_values`. Attributes: `difficulty`, of the next episode; `asked`, its questions.
    """

    metadata = {"render_modes": []}

    def __init__(self, difficulty: int, num_values: int, low: np.ndarray) -> None:
        """Sets up the spaces.

        Args:
            difficulty: as in `set_difficulty`.
            num_values: values, and actions.
            low: least observations, [O]; the greatest are 1.
        """
        if num_values < 2:
            raise ValueError(f"num_values={num_values}, expected values to tell apart: give 2 or more.")
        self.num_values = num_values
        self.set_difficulty(difficulty)
        self.render_mode = None
        self.action_space = spaces.Discrete(num_values)
        self.observation_space = spaces.Box(low.astype(np.float32), 1.0, dtype=np.float32)
        self.time, self.heard, self.right, self.playing = 0, False, 0, self.difficulty
        self.drawn_from: dict[str, Any] | None = None

    def set_difficulty(self, difficulty: int) -> None:
        """Sets how much there is to keep, from the next episode on. Spaces stay: an agent may begin with little.

        Raises:
            ValueError: for a difficulty that there cannot be.
            TypeError: for one that is no whole number.
        """
        difficulty = operator.index(difficulty)
        self.check(difficulty)
        self.difficulty = difficulty

    @abstractmethod
    def check(self, difficulty: int) -> None:
        """ValueError for a difficulty that there cannot be."""

    @property
    @abstractmethod
    def asked(self) -> int:
        """The questions of the next episode."""

    @abstractmethod
    def write(self, difficulty: int) -> Script:
        """A new episode, drawn by `np_random`."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.drawn_from = dict(self.np_random.bit_generator.state)
        self.playing = self.difficulty
        self.script, self.time, self.heard, self.right = self.write(self.playing), 0, False, 0
        return self.script.shown[0].copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        shown, answers, silent = self.script
        if silent[self.time]:
            self.heard = bool(action == 0)
        right = bool(self.heard and action == answers[self.time])
        self.right += right
        self.time += 1
        over = self.time == len(answers)
        info = {"share_right": self.right / np.count_nonzero(answers >= 0)} if over else {}
        return shown[self.time].copy(), float(right), over, False, info

    def get_state(self) -> dict[str, Any]:
        """Where the episode stands, and the random numbers that it was drawn from, as plain values."""
        return {
            "time": self.time,
            "heard": self.heard,
            "right": self.right,
            "difficulty": self.difficulty,
            "playing": self.playing,
            "drawn_from": copy(self.drawn_from),
            "random": dict(self.np_random.bit_generator.state),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self.time, self.heard, self.right = state["time"], state["heard"], state["right"]
        self.difficulty, self.playing = state["difficulty"], state["playing"]
        self.drawn_from = copy(state["drawn_from"])
        if self.drawn_from is not None:
            self.np_random.bit_generator.state = self.drawn_from
            self.script = self.write(self.playing)
        self.np_random.bit_generator.state = state["random"]

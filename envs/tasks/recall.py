"""A memory probe that trains in seconds: see a cue, wait, give it back.

Every episode has `length` steps. The first observation shows one of `num_cues` cues, the following ones a random
distractor, the last one a flag that asks for the answer. There action c earns 1 when c was the cue, and 0 otherwise.
In every earlier step action 0 is free and any other action costs `impatience`. Observation [num_cues + 2]: cue
one-hot, distractor −1 or 1, question 0 or 1.

Without memory nothing beats chance, 1 / num_cues, by construction. An agent that sees its own previous action
(TransitionObservation) could pass the cue on from action to action, and sees the cue for one step more in the change
of the observation; so at least `length` − 2 waiting steps would have to carry it. Let S_t be the sum over cues of
P(action_t ≠ 0 | cue). One action tells the cue with probability at most (1 + S_t) / num_cues, so answering better
than chance by g needs S_t >= num_cues · g in each of these steps, which costs at least (length − 2) · impatience · g:
more than it earns when impatience > 1 / (length − 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.tasks.task import ProbeEntry


class RecallEnv(gym.Env):
    """Cue, distractors, question. The return is 1 for a right answer after patient waiting."""

    metadata = {"render_modes": []}

    def __init__(self, num_cues: int = 2, length: int = 8, impatience: float = 0.25) -> None:
        """Sets up the probe.

        Args:
            num_cues: cues, and actions; at least 2.
            length: steps of an episode, the cue and the question included; at least 4.
            impatience: cost of a non-zero action before the question; above 1 / (length − 2).
        """
        if num_cues < 2 or length < 4:
            raise ValueError(f"num_cues={num_cues}, length={length}: expected at least 2 cues and 4 steps.")
        if not impatience > 1 / (length - 2):
            raise ValueError(
                f"impatience={impatience}: expected more than 1 / (length − 2) = {1 / (length - 2):.3f}."
            )
        self.num_cues, self.length, self.impatience = num_cues, length, impatience
        self.render_mode = None
        self.action_space = spaces.Discrete(num_cues)
        low, high = np.zeros(num_cues + 2, np.float32), np.ones(num_cues + 2, np.float32)
        low[num_cues] = -1.0
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.cue = 0
        self.time = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.cue = int(self.np_random.integers(self.num_cues))
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        asked = self.time == self.length - 1
        reward = float(action == self.cue) if asked else -self.impatience * float(action != 0)
        self.time += 1
        return self._observe(), reward, asked, False, {}

    def get_state(self) -> dict[str, Any]:
        """The episode and the random numbers, as plain values."""
        return {"cue": self.cue, "time": self.time, "random": dict(self.np_random.bit_generator.state)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self.cue, self.time = state["cue"], state["time"]
        self.np_random.bit_generator.state = state["random"]

    def _observe(self) -> np.ndarray:
        observation = np.zeros(self.num_cues + 2, np.float32)
        if self.time == 0:
            observation[self.cue] = 1.0
        elif self.time < self.length:
            observation[self.num_cues] = 2 * self.np_random.integers(2) - 1
        observation[self.num_cues + 1] = float(self.time == self.length - 1)
        return observation


PROBE = {"Memory/Recall-v0": ProbeEntry(RecallEnv, "Recall a cue at the episode's end.")}

"""LunarLander whose state can be saved: it records the actions since the last reset. Importing this needs Box2D."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from envs.tasks.lunar_lander import PLANT

with (
    warnings.catch_warnings()
):  # Box2D's SWIG code warns, and crashes the interpreter where a warning is an error
    warnings.simplefilter("ignore", DeprecationWarning)
    from gymnasium.envs.box2d.lunar_lander import LunarLander


class RecordedLander(LunarLander):
    """LunarLander that can be put back into a state, mid-flight and mid-contact, to the bit.

    Box2D keeps what it needs for the next step, contacts and their impulses, to itself. So the state is the random
    numbers at the last reset, and the actions and parameters since; restoring it flies the episode again.
    """

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        gym.Env.reset(self, seed=seed)
        self._begun = dict(self.np_random.bit_generator.state)
        self._before = _parameters(self)
        self._flight: list[tuple[Any, dict[str, float]]] = []
        observation, info = super().reset(options=options)
        # LunarLander's reset has taken one idle step, which belongs to the reset
        self._flight.clear()
        return observation, info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._flight.append((np.asarray(action).tolist(), _parameters(self)))
        return super().step(action)

    def get_state(self) -> dict[str, Any]:
        """The random numbers at the last reset, parameters then and now, actions and parameters since."""
        return {
            "begun": dict(self._begun),
            "before": dict(self._before),
            "flight": [[action, dict(parameters)] for action, parameters in self._flight],
            "now": _parameters(self),
            "random": dict(self.np_random.bit_generator.state),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Flies to where `get_state` was called."""
        self.np_random.bit_generator.state = state["begun"]
        PLANT.set(self, state["before"])
        self.reset()
        for action, parameters in state["flight"]:
            PLANT.set(self, parameters)
            self.step(np.array(action, np.float32) if isinstance(action, list) else action)
        PLANT.set(self, state["now"])
        self.np_random.bit_generator.state = state["random"]


def _parameters(env: LunarLander) -> dict[str, float]:
    return {name: float(parameter.read(env)) for name, parameter in PLANT.parameters.items()}

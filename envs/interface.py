"""Drifts between agent and environment, for any environment: actuators and sensors.

A channel sits on one signal. It names its parameters, is set to a context's values, and maps the signal; where it
holds state (random numbers), it gives and takes that state. Where a setting leaves the signal as it is, the map is
None, so that a channel that does nothing costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space, spaces

from envs.sources import keyed


@dataclass(frozen=True)
class Parameter:
    """What a drifting parameter is: its unit, its meaning, and whether it must stay above 0."""

    unit: str
    meaning: str
    positive: bool


class ActionChannel:
    """Between the agent's action and the environment.

    A box action becomes clip(sign · gain · action) to the space's bounds: the actuator saturates where it did
    before. A discrete action has a sign alone: −1 mirrors the order of the actions, 0 … n−1 to n−1 … 0.
    """

    parameters: Mapping[str, Parameter] = {
        "action_sign": Parameter("", "sign of the actuator, −1 or 1", positive=False),
        "action_gain": Parameter("", "gain of the actuator", positive=False),
    }

    def __init__(self, space: Space) -> None:
        self._space = space
        self.map: Callable[[Any], Any] | None = None

    def check(self, names: set[str]) -> None:
        """Refuses, in one sentence, parameters that this action space cannot have."""
        if "action_gain" in names and not isinstance(self._space, spaces.Box):
            raise ValueError(f"action_gain needs a Box action space, and this environment has {self._space}.")
        if "action_sign" in names and not isinstance(self._space, spaces.Box | spaces.Discrete):
            raise ValueError(
                f"action_sign needs Box or Discrete actions, and this environment has {self._space}."
            )

    def set(self, context: Mapping[str, float]) -> None:
        sign, gain = context.get("action_sign", 1.0), context.get("action_gain", 1.0)
        if sign not in (-1.0, 1.0):
            raise ValueError(f"action_sign={sign}: expected −1 or 1.")
        if sign * gain == 1.0:
            self.map = None
        elif isinstance(self._space, spaces.Discrete):
            self.map = _mirror(self._space)
        elif isinstance(self._space, spaces.Box):
            self.map = _scale(self._space, sign * gain)


def _mirror(space: spaces.Discrete) -> Callable[[Any], Any]:
    ends = int(2 * space.start + space.n - 1)  # the first and the last action add up to this
    return lambda action: ends - action


def _scale(space: spaces.Box, factor: float) -> Callable[[Any], Any]:
    low, high, dtype = space.low, space.high, space.dtype
    return lambda action: np.minimum(np.maximum(factor * np.asarray(action, dtype), low), high)


class ObservationChannel:
    """Between the environment and the agent's observation: white Gaussian sensor noise."""

    parameters: Mapping[str, Parameter] = {
        "sensor_noise": Parameter("", "standard deviation of the noise on every observation", positive=False),
    }

    def __init__(self, space: Space) -> None:
        self._space = space
        self._rng = keyed(0, "sensor_noise")
        self.map: Callable[[Any], Any] | None = None

    def check(self, names: set[str]) -> None:
        """Refuses, in one sentence, parameters that this observation space cannot have."""
        if names and not (
            isinstance(self._space, spaces.Box) and np.issubdtype(self._space.dtype, np.floating)
        ):
            raise ValueError(
                f"sensor_noise needs a Box of floats to observe, and this environment has {self._space}."
            )

    def space(self) -> Space:
        """The space of the observations it passes on: noise has no bounds."""
        box = self._space
        return spaces.Box(-np.inf, np.inf, box.shape, box.dtype)  # type: ignore[arg-type]

    def seed(self, seed: int) -> None:
        """Starts the noise anew, as a function of the seed."""
        self._rng = keyed(seed, "sensor_noise")

    def set(self, context: Mapping[str, float]) -> None:
        noise = context.get("sensor_noise", 0.0)
        if noise < 0:
            raise ValueError(f"sensor_noise={noise}: expected a standard deviation of at least 0.")
        self.map = self._noisy(noise) if noise > 0 else None

    def _noisy(self, noise: float) -> Callable[[Any], Any]:
        dtype = self._space.dtype

        def add(observation: Any) -> Any:
            return (observation + noise * self._rng.standard_normal(np.shape(observation))).astype(dtype)

        return add

    def get_state(self) -> dict[str, Any]:
        """The state of the noise, plain numbers."""
        return dict(self._rng.bit_generator.state)

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._rng.bit_generator.state = dict(state)

"""The channel of actions, from the agent to the environment: how actuators drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space, spaces

from envs.channels.channel import Channel, Delay, Parameter, permutation, share_of, sign_of, size_of

_BOXES_ONLY = ("action_gain", "action_bias", "action_dead_zone", "action_noise")


class ActionChannel(Channel):
    """An action on its way: late, its entries swapped, then what the actuator makes of it.

    A box action a becomes clip(dead(sign · gain · a + bias) + noise) to the space's bounds: the actuator saturates
    where it did before. dead(u) is u, moved towards 0 by the dead zone, and 0 within it. A discrete action is
    permuted, has a sign (−1 mirrors the order of the actions, 0 … n−1 to n−1 … 0) and slips: with a probability, any
    action is taken.
    """

    parameters: ClassVar[Mapping[str, Parameter]] = {
        "action_sign": Parameter("", "sign of the actuator, −1 or 1", positive=False),
        "action_gain": Parameter("", "gain of the actuator", positive=False),
        "action_bias": Parameter("", "added to every entry of the action", positive=False),
        "action_permutation": Parameter(
            "", "number of the permutation of entries or actions", positive=False
        ),
        "action_delay": Parameter("steps", "how late actions arrive", positive=False),
        "action_dead_zone": Parameter("", "actions smaller than this do nothing", positive=False),
        "action_noise": Parameter("", "standard deviation of the noise on every entry", positive=False),
        "action_slip": Parameter("", "probability that any discrete action is taken", positive=False),
    }
    random: ClassVar[tuple[str, ...]] = ("action_noise", "action_slip")

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._delay = Delay()
        self._delays = False

    def check(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        names, space = set(bounds), self._space
        boxes = sorted(names & set(_BOXES_ONLY))
        if boxes and not isinstance(space, spaces.Box):
            raise ValueError(f"{boxes[0]} needs a Box action space, and this environment has {space}.")
        if "action_slip" in names and not isinstance(space, spaces.Discrete):
            raise ValueError(f"action_slip needs Discrete actions, and this environment has {space}.")
        if names and not isinstance(space, spaces.Box | spaces.Discrete):
            raise ValueError(f"{min(names)} needs Box or Discrete actions, and this environment has {space}.")
        if "action_permutation" in names and isinstance(space, spaces.Box) and len(space.shape) != 1:
            raise ValueError(
                f"action_permutation needs one-dimensional actions, and this environment has {space}."
            )
        self._delays = "action_delay" in names
        self._delay.reserve(bounds.get("action_delay", (0, 0))[1])

    def set(self, context: Mapping[str, float]) -> None:
        self._delay.set(context.get("action_delay", 0.0), "action_delay")
        drive = None
        if isinstance(self._space, spaces.Discrete):
            drive = self._discrete(self._space, context)
        elif isinstance(self._space, spaces.Box):
            drive = self._box(self._space, context)
        self.map = drive
        if self._delays:
            delay = self._delay
            self.map = delay if drive is None else lambda action: drive(delay(action))

    def _discrete(self, space: spaces.Discrete, context: Mapping[str, float]) -> Callable[[Any], Any] | None:
        n, start = int(space.n), int(space.start)
        order = permutation(context.get("action_permutation", 0.0), n, "action_permutation")
        if sign_of(context, "action_sign") < 0:
            order = [n - 1 - action for action in order]
        slip, rng = share_of(context, "action_slip"), self.rng["action_slip"]
        if slip:
            return lambda action: (
                start + int(rng.integers(n) if rng.random() < slip else order[int(action) - start])
            )
        return None if order == list(range(n)) else lambda action: start + order[int(action) - start]

    def _box(self, space: spaces.Box, context: Mapping[str, float]) -> Callable[[Any], Any] | None:
        low, high, dtype = space.low, space.high, space.dtype
        factor = sign_of(context, "action_sign") * context.get("action_gain", 1.0)
        bias = context.get("action_bias", 0.0)
        zone = size_of(context, "action_dead_zone", "a dead zone")
        noise, rng = size_of(context, "action_noise"), self.rng["action_noise"]
        order = None
        if context.get("action_permutation"):
            order = permutation(context["action_permutation"], len(low), "action_permutation")
        if factor == 1.0 and order is None and not (bias or zone or noise):
            return None

        def drive(action: Any) -> np.ndarray:
            signal = factor * np.asarray(action, dtype)
            if order is not None:
                signal = signal[order]
            if bias:
                signal = signal + bias
            if zone:
                signal = np.sign(signal) * np.maximum(np.abs(signal) - zone, 0.0)
            if noise:
                signal = signal + noise * rng.standard_normal(signal.shape)
            return np.minimum(np.maximum(signal, low), high).astype(dtype, copy=False)

        return drive

    def begin(self) -> None:
        self._delay.clear()

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "late": self._delay.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._delay.set_state(state["late"], self._space.dtype)

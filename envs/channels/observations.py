"""The channel of observations, from the environment to the agent: how sensors drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space, spaces

from envs.channels.channel import Channel, Delay, Parameter, permutation, share_of, size_of

_BOUNDED = frozenset({"sensor_delay"})  # these leave the observation within its bounds


class ObservationChannel(Channel):
    """An observation o on its way: late, its entries swapped, then gain · o + bias + noise, some entries lost (read 0).

    The noise is white and Gaussian, losses are independent of each other.
    """

    parameters: ClassVar[Mapping[str, Parameter]] = {
        "sensor_noise": Parameter("", "standard deviation of the noise on every observation", positive=False),
        "sensor_gain": Parameter("", "gain of every sensor", positive=False),
        "sensor_bias": Parameter("", "added to every entry of the observation", positive=False),
        "sensor_dropout": Parameter("", "probability that an entry reads 0", positive=False),
        "sensor_permutation": Parameter("", "number of the permutation of entries", positive=False),
        "sensor_delay": Parameter("steps", "how late observations arrive", positive=False),
    }
    random: ClassVar[tuple[str, ...]] = ("sensor_noise", "sensor_dropout")

    def __init__(self, space: Space) -> None:
        super().__init__()
        self._space = space
        self._delay = Delay()
        self._names: set[str] = set()

    def check(self, bounds: Mapping[str, tuple[float, float]]) -> None:
        names = set(bounds)
        floats = isinstance(self._space, spaces.Box) and np.issubdtype(self._space.dtype, np.floating)
        if names and not floats:
            raise ValueError(
                f"{min(names)} needs a Box of floats to observe, and this environment has {self._space}."
            )
        if "sensor_permutation" in names and len(self._space.shape or ()) != 1:
            raise ValueError(f"sensor_permutation needs a one-dimensional observation and got {self._space}.")
        self._names = names
        self._delay.reserve(bounds.get("sensor_delay", (0, 0))[1])

    def space(self) -> Space:
        """The space of the observations it passes on: what is scaled, noisy or swapped has no bounds."""
        box = self._space
        if self._names <= _BOUNDED:
            return box
        return spaces.Box(-np.inf, np.inf, box.shape, box.dtype)  # type: ignore[arg-type]

    def set(self, context: Mapping[str, float]) -> None:
        self._delay.set(context.get("sensor_delay", 0.0), "sensor_delay")
        read = self._reading(context)
        self.map = read
        if "sensor_delay" in self._names:
            delay = self._delay
            self.map = delay if read is None else lambda observation: read(delay(observation))

    def _reading(self, context: Mapping[str, float]) -> Callable[[Any], Any] | None:
        gain, bias = context.get("sensor_gain", 1.0), context.get("sensor_bias", 0.0)
        noise, normal = size_of(context, "sensor_noise"), self.rng["sensor_noise"].standard_normal
        lost, uniform = share_of(context, "sensor_dropout"), self.rng["sensor_dropout"].random
        shape, dtype = self._space.shape, self._space.dtype
        order = None
        if context.get("sensor_permutation"):
            order = permutation(context["sensor_permutation"], (shape or (0,))[0], "sensor_permutation")
        if gain == 1.0 and order is None and not (bias or noise or lost):
            return None

        def read(observation: Any) -> np.ndarray:
            signal = observation if order is None else observation[order]
            if gain != 1.0:
                signal = gain * signal
            if bias:
                signal = signal + bias
            if noise:
                signal = signal + noise * normal(shape)
            if lost:
                signal = np.where(uniform(shape) < lost, 0.0, signal)
            return signal.astype(dtype)

        return read

    def begin(self) -> None:
        self._delay.clear()

    def get_state(self) -> dict[str, Any]:
        return {**super().get_state(), "late": self._delay.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        super().set_state(state)
        self._delay.set_state(state["late"], self._space.dtype)

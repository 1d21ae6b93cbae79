"""ForeignStream: environments drifted by other libraries, with our keys in `info`.

Two dialects are understood, by what is in `info` after a reset:

    NS-Gym       "Ground Truth Env Change": {parameter: 1 where it changed before this step}; observations are a Dict
                 whose "state" is the base environment's;
    CARL's       "context_id": the same whenever a context is back; observations may be a Dict of "obs" and "context".

Changes, contexts and the time are removed from the observation; the truth is in `info`, under the keys of DriftingEnv.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

_NS_GYM, _CARL = "Ground Truth Env Change", "context_id"
_OBSERVED = ("state", "obs")


class ForeignStream(gym.Wrapper, RecordConstructorArgs):
    """Another library's drifting environment, for our agents and for plain SB3.

    `info`, at every step and reset: phase, context_id, phase_changed, context, steps_since_change, as DriftingEnv has
    them. A context is, of NS-Gym, the value of every parameter that it moves (its change since the episode's start
    where the value is no number), and of CARL what its observation says of it. Schedules that move at every step make
    every step a phase: agents fit such a stream with `phase_signal="none"`. A reset with a seed starts a new lifetime,
    whose first phase is 0.

    Args:
        env: the environment, as its library wraps it.
        observed: the key of the Dict observation that agents see; None for "state" or "obs", whichever is there.

    Raises:
        ValueError: where observations are a Dict without that key, or `info` speaks neither dialect.
    """

    def __init__(self, env: gym.Env, observed: str | None = None) -> None:
        RecordConstructorArgs.__init__(self, observed=observed)
        gym.Wrapper.__init__(self, env)
        self._key: str | None = None
        if isinstance(env.observation_space, spaces.Dict):
            known = list(env.observation_space.spaces)
            keys = [k for k in ((observed,) if observed else _OBSERVED) if k in known]
            if not keys:
                wanted = observed or " or ".join(_OBSERVED)
                raise ValueError(
                    f"The Dict observation has {known}, and not {wanted}: name the key to observe."
                )
            self._key = keys[0]
            self.observation_space = env.observation_space[self._key]
        self._begin()

    def _begin(self) -> None:
        """A new lifetime."""
        self._phase, self._since = -1, 0
        self._now: Any = None
        self._ids: dict[Any, int] = {}
        self._moved: dict[str, float] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._begin()
        observation, info = self.env.reset(seed=seed, options=options)
        if not getattr(self.env, "persistent_params", False):  # NS-Gym's: parameters outlive the episode
            self._moved = {}
        self._changed = False
        return self._observe(observation), self._report(observation, info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = self._report(observation, info)
        self._since, self._changed = self._since + 1, False
        # NS-Gym's rewards may be a record of reward, changes and time
        return (
            self._observe(observation),
            float(getattr(reward, "reward", reward)),
            terminated,
            truncated,
            info,
        )

    def _observe(self, observation: Any) -> Any:
        return observation if self._key is None else observation[self._key]

    def _report(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        if _NS_GYM in info:
            context = self._ns_gym_context(info)
            name: Any = tuple(context.items())
        elif _CARL in info:
            context, name = _carl_context(observation), info[_CARL]
        else:
            raise ValueError(
                f'info has {sorted(info)}: expected "{_NS_GYM}" of NS-Gym or "{_CARL}" of CARL. '
                "Where an environment does not drift yet, DriftingEnv makes it."
            )
        if name != self._now:
            self._now, self._since = name, 0
            self._phase, self._changed = self._phase + 1, self._phase >= 0
        info["phase"] = self._phase
        info["context_id"] = self._ids.setdefault(name, len(self._ids))
        info["phase_changed"] = self._changed
        info["context"] = context
        info["steps_since_change"] = self._since
        return info

    def _ns_gym_context(self, info: Mapping[str, Any]) -> dict[str, float]:
        for parameter, delta in info.get("Ground Truth Delta Change", {}).items():
            self._moved[parameter] = self._moved.get(parameter, 0.0) + float(delta)
        present = {parameter: getattr(self.env.unwrapped, parameter, None) for parameter in info[_NS_GYM]}
        return {
            parameter: float(value) if isinstance(value, Real) else self._moved.get(parameter, 0.0)
            for parameter, value in present.items()
        }


def _carl_context(observation: Any) -> dict[str, float]:
    """What a CARL observation says of its context: a Dict of numbers, or one vector."""
    context = observation.get("context", {}) if isinstance(observation, Mapping) else {}
    named = context if isinstance(context, Mapping) else {"context": context}
    context_of = {}
    for name, value in named.items():
        numbers = np.ravel(value).tolist()
        single = len(numbers) == 1
        context_of.update(
            {name if single else f"{name}_{i}": float(number) for i, number in enumerate(numbers)}
        )
    return context_of

"""DriftingEnv makes any environment drift."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.channels import ActionChannel, ObservationChannel, Parameter, RewardChannel
from envs.drift import Context, Drift
from envs.lifetime import Clock
from envs.plants import Plant
from envs.tasks import find_plant


class DriftingEnv(gym.Wrapper, RecordConstructorArgs):
    """An environment whose parameters drift over the agent's lifetime.

    The clock counts the steps of this environment and survives `reset()`. `reset(seed=s)` starts a new lifetime,
    exactly reproducible. `reset(options={"context": {...} | id, "frozen": True})` holds one context through all
    further resets until `reset(options={"frozen": False})`; parameters it does not name have their scheduled values,
    `frozen` alone holds the present context, and a seed given meanwhile seeds the episodes only: the training clock
    does not move.

    `info`, at every step and reset:
        phase: counts changes of the context, from 0.
        context_id: the same number whenever the same context is back (−1 for a held context of new values).
        phase_changed: whether this is the first step under a new context, or the reset before it.
        context: the value of every parameter of the drift.
        steps_since_change: steps this context had run before this one.
    """

    def __init__(
        self,
        env: gym.Env,
        drift: Drift | Mapping[str, Any],
        seed: int | None = None,
        *,
        lifetime: int | None = None,
        observe_context: bool = False,
        plant: Plant | None = None,
    ) -> None:
        """Wraps an environment.

        Args:
            env: any Gymnasium environment; the plant's parameters are set in `env.unwrapped`.
            drift: the Drift, or its JSON form.
            seed: of the first lifetime; None draws one, to be read as `lifetime_seed`.
            lifetime: a seed for the drift alone, kept over all resets: environments with one `lifetime` pass through
                the same contexts, in episodes of their own seeds. None: the seeds of the resets.
            observe_context: appends the moving parameters, scaled so that their range is [−1, 1], to the
                observation: an oracle observes what other agents must find out.
            plant: how the environment's physical parameters are set, for environments that are unknown here.
        """
        drift = drift if isinstance(drift, Drift) else Drift.from_json(drift)
        seed, lifetime = (None if number is None else index(number) for number in (seed, lifetime))
        RecordConstructorArgs.__init__(
            self,
            drift=drift.to_json(),
            seed=seed,
            lifetime=lifetime,
            observe_context=observe_context,
            plant=plant,
        )
        gym.Wrapper.__init__(self, env)
        self.drift = drift
        self._seed = seed
        self._lifetime = lifetime
        self._clock: Clock | None = None
        self.plant = find_plant(env) if plant is None else plant
        self._actions = ActionChannel(env.action_space)
        self._sensors = ObservationChannel(env.observation_space)
        self._rewards = RewardChannel()
        self._channels = (self._actions, self._sensors, self._rewards)
        self._refuse_inner_autoreset()
        self._check_names()
        self._within_episodes = drift.change_at == "step"
        self._middle, self._reach = _centre_and_reach(drift) if observe_context else ({}, {})
        self.observation_space = self._space(observe_context)

    # ------------------------------------------------------------------------------------------- set-up

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter that can drift here, physical ones first."""
        interface = {name: p for channel in self._channels for name, p in channel.parameters.items()}
        return {
            **self.plant.parameters,
            **{n: p for n, p in interface.items() if n not in self.plant.parameters},
        }

    def _refuse_inner_autoreset(self) -> None:
        layer: gym.Env = self.env
        while isinstance(layer, gym.Wrapper):
            if isinstance(layer, gym.wrappers.Autoreset):
                raise ValueError(
                    "Autoreset lies inside DriftingEnv, which would count its dummy steps: put it outside."
                )
            layer = layer.env

    def _check_names(self) -> None:
        known, bounds = self.parameters, {n: s.bounds for n, s in self.drift.parameters.items()}
        unknown = sorted(set(bounds) - set(known))
        if unknown:
            raise ValueError(
                f"{self.env.unwrapped} has no parameters {unknown}: expected some of {sorted(known)}."
            )
        for name, (low, _) in bounds.items():
            _check_positive(name, low, known[name])
        names = set(bounds) - set(self.plant.parameters)
        for channel in self._channels:
            channel.check({name: bounds[name] for name in sorted(names & set(channel.parameters))})
        self._physical = [name for name in bounds if name in self.plant.parameters]

    def _space(self, observe_context: bool) -> spaces.Space:
        space = self._sensors.space()
        if not observe_context:
            return space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"observe_context needs a flat Box to append to, and this environment observes {space}."
            )
        bound = np.full(len(self._middle), np.inf, space.dtype)
        return spaces.Box(np.append(space.low, -bound), np.append(space.high, bound), dtype=space.dtype.type)

    def _check_context(self, context: Context) -> None:
        for name, value in context.items():
            _check_positive(name, value, self.parameters[name])

    # ------------------------------------------------------------------------------------------- running

    @property
    def lifetime_seed(self) -> int:
        """The seed of the present lifetime: `reset(seed=lifetime_seed)` runs it again."""
        return self.clock.seed

    @property
    def clock(self) -> Clock:
        """The clock of the present lifetime."""
        if self._clock is None:
            raise gym.error.ResetNeeded("The lifetime has not begun: call reset() first.")
        return self._clock

    def begin(
        self, clock: Clock | None, seed: int | None, options: Mapping[str, Any] | None
    ) -> tuple[Clock, int | None, dict[str, Any]]:
        """A reset as the clock sees it, of this environment or of another one with its drift.

        Starts a lifetime, holds or releases a context and makes the change that is due, as the options say.

        Args:
            clock: the clock before the reset; None before the first.
            seed: as `reset` was given it.
            options: as `reset` was given them.

        Returns:
            The clock after the reset, the seed for the environment's own reset and for noise, and the options that are
            left for the environment.
        """
        left = dict(options or {})
        context, frozen = left.pop("context", None), left.pop("frozen", None)
        if context is not None and frozen is False:
            raise ValueError(
                'reset(options=…) got a context and "frozen": False: a given context is held, or left out.'
            )
        held = clock is not None and clock.held is not None
        stays_held = context is not None or bool(frozen) or (held and frozen is None)
        if clock is None:
            fresh = self._seed if seed is None else seed
            seed = int(np.random.SeedSequence().generate_state(1)[0]) if fresh is None else fresh
        if clock is None or (seed is not None and not stays_held):
            assert seed is not None
            clock = Clock(self.drift, int(seed) if self._lifetime is None else self._lifetime)
        if context is not None or (frozen and not held):
            values = clock.find(context)
            self._check_context(values)
            self.apply(values)  # what cannot take effect is refused before it is held
            clock.hold(values)
        elif frozen is False:
            clock.release()
        if clock.due:
            clock.advance()
        return clock, seed, left

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        seed = None if seed is None else index(seed)  # Gymnasium asks for Python's int, not NumPy's
        self._clock, seed, left = self.begin(self._clock, seed, options)
        for channel in self._channels:
            channel.begin()
            if seed is not None:
                channel.seed(seed)
        self.apply(self._clock.context)
        observation, info = self.env.reset(seed=seed, options=left or None)
        return self._observe(observation), self._clock.report(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        clock = self.clock
        if self._within_episodes and clock.due and clock.advance():
            self.apply(clock.context)
        if self._actions.map is not None:
            action = self._actions.map(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._rewards.map is not None:
            reward = self._rewards.map(reward)
        info = clock.report(info)
        clock.tick()
        return self._observe(observation), reward, terminated, truncated, info

    def apply(self, context: Context) -> None:
        """Puts a context into effect: plant, channels, and what an oracle observes."""
        self.plant.set(self.env.unwrapped, {name: context[name] for name in self._physical})
        abroad = {name: value for name, value in context.items() if name not in self.plant.parameters}
        for channel in self._channels:
            channel.set(abroad)
        scaled = [(context[name] - self._middle[name]) / self._reach[name] for name in self._middle]
        self.oracle = np.array(scaled, np.float32)

    def _observe(self, observation: Any) -> Any:
        if self._sensors.map is not None:
            observation = self._sensors.map(observation)
        return np.append(observation, self.oracle) if self._middle else observation

    # ------------------------------------------------------------------------------------------- state

    def get_state(self) -> dict[str, Any]:
        """The lifetime, the noise and the plant's physical state, as plain values that JSON can hold.

        The state of wrappers around or inside this one is their own: envs.get_state collects a whole stack. Of an
        environment without a plant only the random numbers are included; reset it after `set_state`.
        """
        return {
            "clock": self.clock.get_state(),
            "channels": [channel.get_state() for channel in self._channels],
            "plant": self.plant.get_state(self.env.unwrapped),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called, mid-phase and mid-episode."""
        self._clock = Clock.from_state(self.drift, state["clock"])
        for channel, saved in zip(self._channels, state["channels"], strict=True):
            channel.set_state(saved)
        self.apply(self._clock.context)
        self.plant.set_state(self.env.unwrapped, state["plant"])

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: how this was built, and where it stands. Noise and dynamics are then its own."""
        return {
            "env": self.env,
            "arguments": self._saved_kwargs,
            "observation_space": self.observation_space,
            "state": None if self._clock is None else self.get_state(),
        }

    def __setstate__(self, saved: Mapping[str, Any]) -> None:
        self.__init__(saved["env"], **saved["arguments"])  # type: ignore[misc]  # as a copy is built
        self.observation_space = saved["observation_space"]
        if saved["state"] is not None:
            self.set_state(saved["state"])


def _check_positive(name: str, value: float, parameter: Parameter) -> None:
    if parameter.positive and not value > 0:
        raise ValueError(f"{name}={value}: expected {parameter.meaning} above 0{' ' + parameter.unit}.")


def _centre_and_reach(drift: Drift) -> tuple[dict[str, float], dict[str, float]]:
    """The middle and half the width of the range of every moving parameter."""
    moving = drift.moving.items()
    return {n: (low + high) / 2 for n, (low, high) in moving}, {
        n: (high - low) / 2 for n, (low, high) in moving
    }

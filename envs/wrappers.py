"""DriftingEnv makes any environment drift; TransitionObservation shows an agent its last transition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from envs.drift import Clock, Context, Drift
from envs.interface import ActionChannel, ObservationChannel, Parameter
from envs.plants import Plant, find_plant
from envs.transition import TransitionObservation

__all__ = ["DriftingEnv", "TransitionObservation"]


class DriftingEnv(gym.Wrapper, RecordConstructorArgs):
    """An environment whose parameters drift over the agent's lifetime.

    The clock counts the steps of this environment and survives `reset()`. `reset(seed=s)` starts a new lifetime,
    exactly reproducible. `reset(options={"context": {...} | id, "frozen": True})` holds one context through all
    further resets until `reset(options={"frozen": False})`; parameters a context does not name stay as they are,
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
        observe_context: bool = False,
        plant: Plant | None = None,
    ) -> None:
        """Wraps an environment.

        Args:
            env: any Gymnasium environment; the plant's parameters are set in `env.unwrapped`.
            drift: the Drift, or its JSON form.
            seed: of the first lifetime; None draws one, to be read as `lifetime_seed`.
            observe_context: appends the moving parameters, scaled so that their range is [−1, 1], to the
                observation: an oracle that is told what others must find out.
            plant: how the environment's physical parameters are set, for environments unknown to envs.plants.
        """
        drift = drift if isinstance(drift, Drift) else Drift.from_json(drift)
        RecordConstructorArgs.__init__(
            self, drift=drift.to_json(), seed=seed, observe_context=observe_context, plant=plant
        )
        gym.Wrapper.__init__(self, env)
        self.drift = drift
        self._seed = seed
        self._clock: Clock | None = None
        self._held: Context | None = None
        self._held_id = -1
        self._held_steps = 0
        self._plant = find_plant(env) if plant is None else plant
        self._actions = ActionChannel(env.action_space)
        self._sensors = ObservationChannel(env.observation_space)
        self._refuse_inner_autoreset()
        self._check_names()
        self._within_episodes = drift.change_at == "step"
        self._middle, self._reach = _centre_and_reach(drift) if observe_context else ({}, {})
        self.observation_space = self._space(observe_context)

    # ------------------------------------------------------------------------------------------- set-up

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter that can drift here, physical ones first."""
        interface = {**self._actions.parameters, **self._sensors.parameters}
        return {
            **self._plant.parameters,
            **{n: p for n, p in interface.items() if n not in self._plant.parameters},
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
        names = set(bounds) - set(self._plant.parameters)
        self._actions.check(names & set(self._actions.parameters))
        self._sensors.check(names & set(self._sensors.parameters))
        self._physical = [name for name in bounds if name in self._plant.parameters]

    def _space(self, observe_context: bool) -> spaces.Space:
        noisy = "sensor_noise" in self.drift.parameters
        space = self._sensors.space() if noisy else self.env.observation_space
        if not observe_context:
            return space
        if not isinstance(space, spaces.Box) or len(space.shape) != 1:
            raise ValueError(
                f"observe_context needs a flat Box to append to, and this environment observes {space}."
            )
        told = np.full(len(self._middle), np.inf, space.dtype)
        return spaces.Box(np.append(space.low, -told), np.append(space.high, told), dtype=space.dtype.type)

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

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        context, frozen = options.pop("context", None), options.pop("frozen", None)
        if context is not None and frozen is False:
            raise ValueError(
                'reset(options=…) got a context and "frozen": False: a given context is held, or left out.'
            )
        seed = self._begin(
            seed, held=context is not None or bool(frozen) or (self._held is not None and frozen is None)
        )
        if context is not None or (frozen and self._held is None):
            self._hold(context)
        elif frozen is False:
            self._held = None
        if self._held is None and self.clock.due:
            self.clock.advance()
        self._apply(self.clock.context if self._held is None else self._held)
        observation, info = self.env.reset(seed=seed, options=options or None)
        return self._observe(observation), self._report(info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        clock = self.clock
        if self._within_episodes and clock.due and self._held is None and clock.advance():
            self._apply(clock.context)
        if self._actions.map is not None:
            action = self._actions.map(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        info = self._report(info)
        if self._held is None:
            clock.tick()
        else:
            self._held_steps += 1
        return self._observe(observation), reward, terminated, truncated, info

    def _begin(self, seed: int | None, *, held: bool) -> int | None:
        """Starts a lifetime where one is due; returns the seed for the environment's reset."""
        if self._clock is None:
            fresh = self._seed if seed is None else seed
            seed = int(np.random.SeedSequence().generate_state(1)[0]) if fresh is None else fresh
        if seed is not None:
            if self._clock is None or not held:
                self._clock = Clock(self.drift, int(seed))
            self._sensors.seed(seed)
        return seed

    def _hold(self, context: Mapping[str, float] | int | None) -> None:
        """Holds a context: the given values, the values of an id, or (None) the present ones."""
        lifetime, present = self.clock.lifetime, self.clock.context
        if context is None:
            held = dict(present)
        elif isinstance(context, Mapping):
            unknown = sorted(set(context) - set(present))
            if unknown:
                raise ValueError(f"The context names {unknown}, and only {sorted(present)} drift here.")
            held = {**present, **{name: float(value) for name, value in context.items()}}
        else:
            held = lifetime.context(int(context))
        for name, value in held.items():
            _check_positive(name, value, self.parameters[name])
        self._held, self._held_id, self._held_steps = held, lifetime.find(held), 0

    def _apply(self, context: Context) -> None:
        self._plant.set(self.env.unwrapped, {name: context[name] for name in self._physical})
        self._actions.set(context)
        self._sensors.set(context)
        scaled = [(context[name] - self._middle[name]) / self._reach[name] for name in self._middle]
        self._told = np.array(scaled, np.float32)

    def _observe(self, observation: Any) -> Any:
        if self._sensors.map is not None:
            observation = self._sensors.map(observation)
        return np.append(observation, self._told) if self._middle else observation

    def _report(self, info: dict[str, Any]) -> dict[str, Any]:
        clock, held = self.clock, self._held is not None
        info["phase"] = clock.phase
        info["context_id"] = self._held_id if held else clock.context_id
        info["phase_changed"] = clock.changed and not held
        info["context"] = _Report(clock.context if self._held is None else self._held)
        info["steps_since_change"] = self._held_steps if held else clock.since
        return info

    # ------------------------------------------------------------------------------------------- state

    def get_state(self) -> dict[str, Any]:
        """The lifetime, the noise and the plant's physical state, as plain values that JSON can hold.

        The state of wrappers around or inside this one is their own: envs.get_state collects a whole stack. Of an
        environment without a plant only the random numbers are included; reset it after `set_state`.
        """
        return {
            "clock": self.clock.get_state(),
            "held": self._held and dict(self._held),
            "held_steps": self._held_steps,
            "noise": self._sensors.get_state(),
            "plant": self._plant.get_state(self.env.unwrapped),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called, mid-phase and mid-episode."""
        self._clock = Clock.from_state(self.drift, state["clock"])
        self._held = None
        if state["held"] is not None:
            self._hold(state["held"])
            self._held_steps = state["held_steps"]
        self._apply(self.clock.context if self._held is None else self._held)
        self._sensors.set_state(state["noise"])
        self._plant.set_state(self.env.unwrapped, state["plant"])


class _Report(dict):
    """A context in `info`: a dict of floats, so that its shallow copy is a deep one (vector environments copy)."""

    def __deepcopy__(self, memo: dict) -> _Report:
        return _Report(self)


def _check_positive(name: str, value: float, parameter: Parameter) -> None:
    if parameter.positive and not value > 0:
        raise ValueError(f"{name}={value}: expected {parameter.meaning} above 0{' ' + parameter.unit}.")


def _centre_and_reach(drift: Drift) -> tuple[dict[str, float], dict[str, float]]:
    """The middle and half the width of the range of every moving parameter."""
    moving = drift.moving.items()
    return {n: (low + high) / 2 for n, (low, high) in moving}, {
        n: (high - low) / 2 for n, (low, high) in moving
    }

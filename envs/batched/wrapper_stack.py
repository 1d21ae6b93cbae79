"""Whether a stack of wrappers can run as a batch, read from one environment built in the usual way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.plants import BatchedDynamics
from envs.saving import layers
from envs.tasks import find_plant, find_task
from envs.wrappers import DriftingEnv, Sensors, TransitionObservation

BATCHED_CHANNELS = frozenset({"action_sign", "action_gain", "sensor_noise"})
"""The parameters of actuators and sensors that batches know."""

_ORDER = (TransitionObservation, Sensors, DriftingEnv)  # from the outside
_THROUGH = (gym.wrappers.OrderEnforcing, gym.wrappers.PassiveEnvChecker)


@dataclass(frozen=True)
class WrapperStack:
    """The base environment and the wrappers around it."""

    env: gym.Env
    dynamics: BatchedDynamics
    base: gym.Env
    limit: int
    transition: TransitionObservation | None
    sensors: Sensors | None
    drifting: DriftingEnv | None

    def __reduce__(self) -> tuple[Callable[[gym.Env], WrapperStack | None], tuple[gym.Env]]:
        return read_stack, (self.env,)  # the functions of the dynamics have no names of their own to pickle

    @property
    def observed(self) -> int:
        """Entries of the base environment's observation."""
        return spaces.flatdim(self.base.observation_space)

    @property
    def oracle(self) -> int:
        """Entries that an oracle observes of the context."""
        around = self.base if self.drifting is None else self.drifting
        return spaces.flatdim(around.observation_space) - self.observed

    @property
    def seen(self) -> np.ndarray:
        """The entries, of both, that are left."""
        every = np.arange(self.observed + self.oracle)
        return every if self.sensors is None else self.sensors.seen


def read_stack(env: gym.Env) -> WrapperStack | None:
    """The wrappers of `env`, or None where something in it has no batched form."""
    parts: dict[type, gym.Env] = {}
    limits, place = [], 0
    *around, base = layers(env)
    for layer in around:
        kind = type(layer)
        if isinstance(layer, gym.wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        elif kind in _ORDER[place:]:
            place = _ORDER.index(kind) + 1
            parts[kind] = layer
        elif not isinstance(layer, _THROUGH):
            return None
    task, drifting = find_task(base), parts.get(DriftingEnv)
    if (
        task is None or task.dynamics is None or not task.describes(type(base))
    ):  # a subclass may move differently
        return None
    dynamics = task.dynamics
    if env.render_mode == "human" or not dynamics.knows(base) or not _known(drifting, dynamics):
        return None
    return WrapperStack(
        env,
        dynamics,
        base,
        min(limits, default=0),
        parts.get(TransitionObservation),  # type: ignore[arg-type]
        parts.get(Sensors),  # type: ignore[arg-type]
        drifting,  # type: ignore[arg-type]
    )


def _known(drifting: gym.Env | None, dynamics: BatchedDynamics) -> bool:
    """Whether everything that drifts is known to the dynamics or to the channels of a batch."""
    if not isinstance(drifting, DriftingEnv):
        return drifting is None
    names, physical = set(drifting.drift.parameters), set(drifting.plant.parameters)
    known = names - physical <= BATCHED_CHANNELS and not names & dynamics.unknown
    return known and drifting.plant is find_plant(drifting.env)

"""Whether a stack of wrappers can run as a batch, read from one environment built in the usual way."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.batched.bodies import BODIES, Body
from envs.plants import find_plant
from envs.sensors import Sensors
from envs.state import layers
from envs.transition import TransitionObservation
from envs.wrappers import DriftingEnv

INTERFACE = frozenset({"action_sign", "action_gain", "sensor_noise"})
"""The interface parameters that batches know."""

NOT_BATCHED = frozenset({"torque_noise"})
"""Parameters of plants that they do not know: Acrobot's random torques."""

_ORDER = (TransitionObservation, Sensors, DriftingEnv)  # from the outside
_THROUGH = (gym.wrappers.OrderEnforcing, gym.wrappers.PassiveEnvChecker)


@dataclass(frozen=True)
class Stack:
    """The parts of a stack: the base environment and what lies around it."""

    env: gym.Env
    body: Body
    base: gym.Env
    limit: int
    transition: TransitionObservation | None
    sensors: Sensors | None
    drifting: DriftingEnv | None

    @property
    def observed(self) -> int:
        """Entries of the base environment's observation."""
        return spaces.flatdim(self.base.observation_space)

    @property
    def told(self) -> int:
        """Entries that an oracle is told."""
        around = self.base if self.drifting is None else self.drifting
        return spaces.flatdim(around.observation_space) - self.observed

    @property
    def seen(self) -> np.ndarray:
        """The entries, of both, that are left."""
        every = np.arange(self.observed + self.told)
        return every if self.sensors is None else self.sensors.seen


def read_stack(env: gym.Env) -> Stack | None:
    """The parts of `env`, or None where something in it has no batched form."""
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
    body, drifting = BODIES.get(type(base)), parts.get(DriftingEnv)
    if body is None or env.render_mode == "human" or not body.plain(base) or not _known(drifting):
        return None
    return Stack(
        env,
        body,
        base,
        min(limits, default=0),
        parts.get(TransitionObservation),  # type: ignore[arg-type]
        parts.get(Sensors),  # type: ignore[arg-type]
        drifting,  # type: ignore[arg-type]
    )


def _known(drifting: gym.Env | None) -> bool:
    """Whether everything that drifts is a column of the dynamics or of the interface."""
    if not isinstance(drifting, DriftingEnv):
        return drifting is None
    names, physical = set(drifting.drift.parameters), set(drifting.plant.parameters)
    known = names - physical <= INTERFACE and not names & NOT_BATCHED
    return known and drifting.plant is find_plant(drifting.env)

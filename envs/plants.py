"""How a base environment's physical parameters are really set.

A plant lists an environment's parameters under plain names with their units, and recomputes what is derived from
them: CartPole's total mass and pole mass-length are attributes of their own that Gymnasium fills in once, in the
constructor, and that go stale when a mass or length is set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from envs.interface import Parameter
from envs.point import PointGoalEnv, PointWindEnv


@dataclass(frozen=True)
class PlantParameter(Parameter):
    """A parameter that lives in the environment: how it is read and written."""

    read: Callable[[Any], float]
    write: Callable[[Any, float], None]


@dataclass(frozen=True)
class Plant:
    """The physical parameters of one kind of environment.

    Attributes:
        parameters: by name.
        derive: recomputes, from the parameters, whatever the environment keeps beside them.
        state: attributes of the environment that make up its physical state, for saving and restoring.
    """

    parameters: Mapping[str, PlantParameter]
    derive: Callable[[Any], None]
    state: tuple[str, ...]

    def set(self, env: Any, values: Mapping[str, float]) -> None:
        """Sets the parameters of the unwrapped environment `env`, and what is derived from them."""
        for name, value in values.items():
            self.parameters[name].write(env, value)
        self.derive(env)

    def get_state(self, env: Any) -> dict[str, Any]:
        """The physical state and the random numbers of the unwrapped environment, as plain values."""
        physics = {name: getattr(env, name) for name in self.state}
        plain = {n: v.tolist() if isinstance(v, np.ndarray | np.generic) else v for n, v in physics.items()}
        return {"random": dict(env.np_random.bit_generator.state), "physics": plain}

    def set_state(self, env: Any, state: Mapping[str, Any]) -> None:
        """Puts the unwrapped environment where `get_state` was called."""
        env.np_random.bit_generator.state = state["random"]
        for name, value in state["physics"].items():
            setattr(env, name, np.array(value, np.float64) if isinstance(value, list) else value)


def _attribute(path: str, unit: str, meaning: str, *, positive: bool = True) -> PlantParameter:
    """A parameter that is one attribute of the environment."""

    def write(env: Any, value: float) -> None:
        setattr(env, path, value)

    return PlantParameter(unit, meaning, positive=positive, read=attrgetter(path), write=write)


def _derive_cartpole(env: CartPoleEnv) -> None:
    # the same expressions as CartPoleEnv.__init__, so that restored parameters restore these to the bit
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


def _derive_nothing(env: gym.Env) -> None:
    pass


CARTPOLE = Plant(
    parameters={
        "gravity": _attribute("gravity", "m/s²", "gravitational acceleration"),
        "cart_mass": _attribute("masscart", "kg", "mass of the cart"),
        "pole_mass": _attribute("masspole", "kg", "mass of the pole"),
        "half_length": _attribute("length", "m", "half the pole's length"),
        "force": _attribute("force_mag", "N", "size of the push"),
        "time_step": _attribute("tau", "s", "time between two steps"),
    },
    derive=_derive_cartpole,
    state=("state", "steps_beyond_terminated"),
)

PENDULUM = Plant(
    parameters={
        "gravity": _attribute("g", "m/s²", "gravitational acceleration"),
        "mass": _attribute("m", "kg", "mass of the rod"),
        "length": _attribute("l", "m", "length of the rod"),
        "max_torque": _attribute("max_torque", "N m", "where the motor saturates"),
        "max_speed": _attribute("max_speed", "rad/s", "where the angular velocity is cut off"),
        "time_step": _attribute("dt", "s", "time between two steps"),
    },
    derive=_derive_nothing,
    state=("state", "last_u"),
)

_POINT = {
    "speed": _attribute("speed", "m/step", "length of the step that a full thrust makes"),
    "radius": _attribute("radius", "m", "how near to the goal is an arrival"),
}

POINT_WIND = Plant(
    parameters={
        "wind_x": _attribute("wind_x", "m/step", "wind along x", positive=False),
        "wind_y": _attribute("wind_y", "m/step", "wind along y", positive=False),
        "heading": _attribute("heading", "rad", "how far the compass deviates", positive=False),
        **_POINT,
    },
    derive=_derive_nothing,
    state=("state",),
)

POINT_GOAL = Plant(
    parameters={
        "goal_x": _attribute("goal_x", "m", "place of the hidden platform along x", positive=False),
        "goal_y": _attribute("goal_y", "m", "place of the hidden platform along y", positive=False),
        **_POINT,
    },
    derive=_derive_nothing,
    state=("state",),
)

BARE = Plant(parameters={}, derive=_derive_nothing, state=())

_PLANTS: tuple[tuple[type[gym.Env], Plant], ...] = (
    (CartPoleEnv, CARTPOLE),
    (PendulumEnv, PENDULUM),
    (PointWindEnv, POINT_WIND),
    (PointGoalEnv, POINT_GOAL),
)


def find_plant(env: gym.Env) -> Plant:
    """The plant of an environment; one without parameters (`BARE`) where it is not known here."""
    return next((plant for kind, plant in _PLANTS if isinstance(env.unwrapped, kind)), BARE)

"""What a batch needs to know of a base environment: its numbers, as its own attributes hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from envs.batched import dynamics
from envs.batched.ahead import Draw, uniform
from envs.point import KEYS, PointGoalEnv, PointWindEnv

STATE = 6
"""Numbers in a state of any body; further ones are 0."""


@dataclass(frozen=True)
class Body:
    """One kind of environment that can be batched.

    Attributes:
        kind: its number in `dynamics`.
        columns: the constants of its dynamics, read from an environment in which the context is set.
        reads: random numbers of a reset.
        draw: their distribution.
        read: its state [S] from an environment.
        write: puts a state into an environment.
        plain: whether nothing is set in an environment that the compiled dynamics do not know.
    """

    kind: int
    columns: Callable[[Any], Sequence[float]]
    reads: int
    draw: Draw
    read: Callable[[Any], Sequence[float]]
    write: Callable[[Any, np.ndarray], None]
    plain: Callable[[Any], bool]

    def __reduce__(self) -> tuple[Callable[[int], Body], tuple[int]]:
        return _body_of_kind, (self.kind,)  # a pickle names it: its functions have no names of their own


def _body_of_kind(kind: int) -> Body:
    return next(body for body in BODIES.values() if body.kind == kind)


def _acrobot_columns(env: Any) -> list[float]:
    m1, m2, l1 = env.LINK_MASS_1, env.LINK_MASS_2, env.LINK_LENGTH_1
    c1, c2, i1, i2 = env.LINK_COM_POS_1, env.LINK_COM_POS_2, env.LINK_MOI, env.LINK_MOI
    g = 9.8
    return [
        env.dt, env.MAX_VEL_1, env.MAX_VEL_2,
        m1 * c1**2, l1**2 + c2**2, 2 * l1 * c2, m2, i1, i2,  # d1
        c2**2, l1 * c2, m2 * c2 * g,  # d2, phi2
        -m2 * l1 * c2, 2 * m2 * l1 * c2, (m1 * c1 + m2 * l1) * g,  # phi1
        m2 * l1 * c2, m2 * c2**2 + i2,  # the second joint's acceleration
        *env.AVAIL_TORQUE,
    ]  # fmt: skip


def _state_of(*names: str, single: bool = False, size: int = 4) -> Callable[[Any, np.ndarray], None]:
    def write(env: Any, state: np.ndarray) -> None:
        env.state = state[:size].astype(np.float32 if single else np.float64)
        for name in names:
            setattr(env, name, None)

    return write


def _state(env: Any) -> list[float]:
    return [float(number) for number in env.state]


def _keys(generator: np.random.Generator, out: np.ndarray) -> None:
    out[:] = generator.integers(KEYS, size=len(out))


_CAR = ("min_position", "max_position", "max_speed", "goal_position", "goal_velocity")

BODIES: dict[type[gym.Env], Body] = {
    CartPoleEnv: Body(
        dynamics.CARTPOLE,
        columns=lambda e: (
            e.x_threshold, e.theta_threshold_radians, e.force_mag, e.gravity, e.total_mass, e.polemass_length,
            e.masspole, e.length, e.tau,
        ),
        reads=4,
        draw=uniform,
        read=_state,
        write=_state_of("steps_beyond_terminated"),
        plain=lambda e: e.kinematics_integrator == "euler" and not e._sutton_barto_reward,
    ),
    PendulumEnv: Body(
        dynamics.PENDULUM,
        columns=lambda e: (
            e.max_torque, e.max_speed, 3 * e.g / (2 * e.l), 3.0 / (e.m * e.l**2), e.dt
        ),
        reads=2,
        draw=uniform,
        read=_state,
        write=_state_of("last_u", size=2),
        plain=lambda e: True,
    ),
    AcrobotEnv: Body(
        dynamics.ACROBOT,
        columns=_acrobot_columns,
        reads=4,
        draw=uniform,
        read=_state,
        write=_state_of(),
        plain=lambda e: (
            e.torque_noise_max == 0 and e.book_or_nips == "book" and "_dsdt" not in vars(e)
        ),
    ),
    MountainCarEnv: Body(
        dynamics.MOUNTAIN_CAR,
        columns=lambda e: (*(getattr(e, n) for n in _CAR), e.force, e.gravity),
        reads=1,
        draw=uniform,
        read=_state,
        write=_state_of(size=2),
        plain=lambda e: True,
    ),
    Continuous_MountainCarEnv: Body(
        dynamics.MOUNTAIN_CAR_CONTINUOUS,
        columns=lambda e: (*(getattr(e, n) for n in _CAR), e.power, 0.0025),
        reads=1,
        draw=uniform,
        read=lambda e: [*_state(e), float(e.state.dtype == np.float64)],
        write=_state_of(single=True, size=2),
        plain=lambda e: (e.min_action, e.max_action) == (-1.0, 1.0),
    ),
    PointWindEnv: Body(
        dynamics.POINT_WIND,
        columns=lambda e: (e.wind_x, e.wind_y, e.heading, e.speed, e.radius, e.distance_cost),
        reads=1,
        draw=_keys,
        read=_state,
        write=_state_of(size=6),
        plain=lambda e: True,
    ),
    PointGoalEnv: Body(
        dynamics.POINT_GOAL,
        columns=lambda e: (e.goal_x, e.goal_y, e.speed, e.radius, e.pause, e.distance_cost),
        reads=1,
        draw=_keys,
        read=_state,
        write=_state_of(size=5),
        plain=lambda e: True,
    ),
}  # fmt: skip
"""By the environment's class, exactly: a subclass may move differently."""

COLUMNS = 20
"""Columns of any body; further ones are 0."""

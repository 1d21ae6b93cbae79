"""CartPole, whose push may be reversed, weak or strong.

Total mass and pole mass-length are attributes of their own. Gymnasium fills them in once, in the constructor, and they
go stale when a mass or a length is set alone: they are derived here.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.task import SIGNS, Entry, Task, always, between


def _derive(env: Any) -> None:
    # the same expressions as CartPoleEnv.__init__, so that restored parameters restore these to the bit
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


PLANT = Plant(
    parameters={
        "gravity": attribute("gravity", "m/s²", "gravitational acceleration"),
        "cart_mass": attribute("masscart", "kg", "mass of the cart"),
        "pole_mass": attribute("masspole", "kg", "mass of the pole"),
        "half_length": attribute("length", "m", "half the pole's length"),
        "force": attribute("force_mag", "N", "size of the push"),
        "time_step": attribute("tau", "s", "time between two steps"),
    },
    derive=_derive,
    state=("state", "steps_beyond_terminated"),
)


def _columns(env: Any) -> tuple[float, ...]:
    return (
        env.x_threshold, env.theta_threshold_radians, env.force_mag, env.gravity, env.total_mass,
        env.polemass_length, env.masspole, env.length, env.tau,
    )  # fmt: skip


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    x_limit, theta_limit, push, gravity = columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3]
    total_mass, polemass_length, pole_mass = columns[e, 4], columns[e, 5], columns[e, 6]
    length, tau = columns[e, 7], columns[e, 8]
    place, speed, theta, omega = state[e, 0], state[e, 1], state[e, 2], state[e, 3]
    force = push if x[0] == 1.0 else -push
    cos, sin = math.cos(theta), math.sin(theta)
    temp = (force + polemass_length * (omega * omega) * sin) / total_mass
    theta_acc = (gravity * sin - cos * temp) / (length * (4.0 / 3.0 - pole_mass * (cos * cos) / total_mass))
    x_acc = temp - polemass_length * theta_acc * cos / total_mass
    place += tau * speed
    theta += tau * omega
    state[e, 0], state[e, 1] = place, speed + tau * x_acc
    state[e, 2], state[e, 3] = theta, omega + tau * theta_acc
    return 1.0, place < -x_limit or place > x_limit or theta < -theta_limit or theta > theta_limit


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    for i in range(4):
        state[e, i] = -0.05 + (0.05 - -0.05) * drawn[e, first + i]


def _observe(state: np.ndarray, e: int, out: np.ndarray) -> None:
    for i in range(4):
        out[i] = state[e, i]


TASK = Task(
    env="gymnasium.envs.classic_control:CartPoleEnv",
    plant=PLANT,
    documented="CartPole-v1",
    entries={
        "Drift/CartPole-v0": Entry(
            base="CartPole-v1",
            summary="Balance a short or long pole on a cart whose push may be reversed, weak or strong, "
            "by encoders alone.",
            train={
                "action_sign": SIGNS,
                "force": between((5.0, 15.0)),
                "half_length": between((0.25, 1.0)),
                "gravity": between((6.0, 14.0)),
                "sensor_noise": always(0.005),  # m and rad
            },
            held_out={
                "action_sign": SIGNS,
                "force": between((2.0, 3.5), (16.5, 20.0)),
                "half_length": between((0.12, 0.2), (1.2, 1.5)),
                "gravity": between((3.0, 5.0), (16.0, 20.0)),
                "sensor_noise": always(0.005),
            },
            sensors=(0, 2),  # encoders: position of the cart (m) and angle of the pole (rad), no velocities
            change_scale=50.0,  # a step is 0.02 s: the change is the velocity
            source="force and lengths after CaDM (Lee et al. 2020), widened, with a hidden action sign",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        _observe,
        columns=_columns,
        reads=4,
        write=set_state_of("steps_beyond_terminated"),
        knows=lambda e: e.kinematics_integrator == "euler" and not e._sutton_barto_reward,
    ),
)

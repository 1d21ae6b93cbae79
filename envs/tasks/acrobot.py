"""Acrobot, whose torque has an unknown sign and size.

Its gravity is a number in Gymnasium's code, and its second length enters its pictures only: these are no parameters.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.plants import BatchedDynamics, Plant, PlantParameter, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.task import SIGNS, Entry, Task, always, between


def _write_torque(env: Any, value: float) -> None:
    env.AVAIL_TORQUE = [-value, 0.0, value]


PLANT = Plant(
    parameters={
        "mass_1": attribute("LINK_MASS_1", "kg", "mass of the first link"),
        "mass_2": attribute("LINK_MASS_2", "kg", "mass of the second link"),
        "length_1": attribute("LINK_LENGTH_1", "m", "length of the first link"),
        "centre_1": attribute("LINK_COM_POS_1", "m", "how far along the first link its centre of mass lies"),
        "centre_2": attribute("LINK_COM_POS_2", "m", "how far along the second link its centre of mass lies"),
        "inertia": attribute("LINK_MOI", "kg m²", "moment of inertia of each link"),
        "torque": PlantParameter(
            "N m",
            "size of the torque",
            positive=True,
            read=lambda env: env.AVAIL_TORQUE[2],
            write=_write_torque,
        ),
        "torque_noise": attribute("torque_noise_max", "N m", "largest random torque", positive=False),
        "max_speed_1": attribute("MAX_VEL_1", "rad/s", "where the first joint's velocity is cut off"),
        "max_speed_2": attribute("MAX_VEL_2", "rad/s", "where the second joint's velocity is cut off"),
        "time_step": attribute("dt", "s", "time between two steps"),
    },
    state=("state",),
)


def _columns(env: Any) -> list[float]:
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


def _accelerations(
    s0: float, s1: float, s2: float, s3: float, torque: float, columns: np.ndarray, e: int, two: float
) -> tuple[float, float]:
    """The book's equations (Sutton and Barto), with the products of constants in columns: both accelerations."""
    a, b, c, m2 = columns[e, 3], columns[e, 4], columns[e, 5], columns[e, 6]
    i1, i2, d, f = columns[e, 7], columns[e, 8], columns[e, 9], columns[e, 10]
    cos, sin = math.cos(s1), math.sin(s1)
    d1 = a + m2 * (b + c * cos) + i1 + i2
    d2 = m2 * (d + f * cos) + i2
    phi2 = columns[e, 11] * math.cos(s0 + s1 - math.pi / 2.0)
    phi1 = columns[e, 12] * s3**two * sin - columns[e, 13] * s3 * s2 * sin
    phi1 = phi1 + columns[e, 14] * math.cos(s0 - math.pi / 2) + phi2
    acc_2 = torque + d2 / d1 * phi1 - columns[e, 15] * s2**two * sin - phi2
    acc_2 = acc_2 / (columns[e, 16] - d2**two / d1)
    return -(d2 * acc_2 + phi1) / d1, acc_2


def _wrapped(angle: float) -> float:
    while angle > math.pi:
        angle -= 2 * math.pi
    while angle < -math.pi:
        angle += 2 * math.pi
    return angle


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    dt, max_1, max_2 = columns[e, 0], columns[e, 1], columns[e, 2]
    torque = columns[e, 17 + int(x[0])]
    half, third = dt / 2.0, dt / 6.0
    s0, s1, s2, s3 = state[e, 0], state[e, 1], state[e, 2], state[e, 3]
    a2, a3 = _accelerations(s0, s1, s2, s3, torque, columns, e, two)
    b0, b1, b2, b3 = s0 + half * s2, s1 + half * s3, s2 + half * a2, s3 + half * a3
    c2, c3 = _accelerations(b0, b1, b2, b3, torque, columns, e, two)
    d0, d1, d2, d3 = s0 + half * b2, s1 + half * b3, s2 + half * c2, s3 + half * c3
    f2, f3 = _accelerations(d0, d1, d2, d3, torque, columns, e, two)
    g0, g1, g2, g3 = s0 + dt * d2, s1 + dt * d3, s2 + dt * f2, s3 + dt * f3
    h2, h3 = _accelerations(g0, g1, g2, g3, torque, columns, e, two)
    n0, n1 = s0 + third * (s2 + 2 * b2 + 2 * d2 + g2), s1 + third * (s3 + 2 * b3 + 2 * d3 + g3)
    n2, n3 = s2 + third * (a2 + 2 * c2 + 2 * f2 + h2), s3 + third * (a3 + 2 * c3 + 2 * f3 + h3)
    n0, n1 = _wrapped(n0), _wrapped(n1)
    state[e, 0], state[e, 1] = n0, n1
    state[e, 2], state[e, 3] = min(max(n2, -max_1), max_1), min(max(n3, -max_2), max_2)
    up = -math.cos(n0) - math.cos(n1 + n0) > 1.0
    return (0.0 if up else -1.0), up


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    for i in range(4):
        state[e, i] = np.float32(-0.1 + (0.1 - -0.1) * drawn[e, first + i])


def _observe(state: np.ndarray, e: int, out: np.ndarray) -> None:
    out[0], out[1] = math.cos(state[e, 0]), math.sin(state[e, 0])
    out[2], out[3] = math.cos(state[e, 1]), math.sin(state[e, 1])
    out[4], out[5] = state[e, 2], state[e, 3]


TASK = Task(
    env="gymnasium.envs.classic_control:AcrobotEnv",
    plant=PLANT,
    documented="Acrobot-v1",
    entries={
        "Drift/Acrobot-v0": Entry(
            base="Acrobot-v1",
            summary="Swing up two links with a torque of unknown sign and size, by angles alone.",
            train={
                "action_sign": SIGNS,
                "torque": between((0.8, 1.4)),
                "mass_1": between((0.75, 1.25)),
                "mass_2": between((0.75, 1.25)),
                "sensor_noise": always(0.02),
            },
            held_out={
                "action_sign": SIGNS,
                "torque": between((0.6, 0.75), (1.5, 1.8)),
                "mass_1": between((0.5, 0.7), (1.3, 1.5)),
                "mass_2": between((0.5, 0.7), (1.3, 1.5)),
                "sensor_noise": always(0.02),
            },
            sensors=(0, 1, 2, 3),  # cosine and sine of both angles, no velocities
            change_scale=2.0,  # a step is 0.2 s
            source="masses after CaDM (Lee et al. 2020), with a hidden torque",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        _observe,
        columns=_columns,
        reads=4,
        write=set_state_of(),
        knows=lambda e: e.torque_noise_max == 0 and e.book_or_nips == "book" and "_dsdt" not in vars(e),
        unknown=frozenset({"torque_noise"}),  # random torques
    ),
)

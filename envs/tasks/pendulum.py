"""Pendulum, whose motor has an unknown sign and gain."""

from __future__ import annotations

import math

import numpy as np

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.task import SIGNS, Entry, Task, always, between

PLANT = Plant(
    parameters={
        "gravity": attribute("g", "m/s²", "gravitational acceleration"),
        "mass": attribute("m", "kg", "mass of the rod"),
        "length": attribute("l", "m", "length of the rod"),
        "max_torque": attribute("max_torque", "N m", "where the motor saturates"),
        "max_speed": attribute("max_speed", "rad/s", "where the angular velocity is cut off"),
        "time_step": attribute("dt", "s", "time between two steps"),
    },
    state=("state", "last_u"),
)


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    max_torque, max_speed, fall, lever, dt = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4]
    )  # fmt: skip
    theta, omega = state[e, 0], state[e, 1]
    u = np.float32(min(max(x[0], -max_torque), max_torque))
    angle = (theta + math.pi) % (2 * math.pi) - math.pi
    cost = angle**two + 0.1 * omega**two + np.float64(np.float32(0.001) * u ** np.float32(two))
    speed = omega + (fall * math.sin(theta) + np.float64(np.float32(lever) * u)) * dt
    speed = min(max(speed, -max_speed), max_speed)
    state[e, 0], state[e, 1] = theta + speed * dt, speed
    return -cost, False


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    state[e, 0] = -math.pi + (math.pi - -math.pi) * drawn[e, first]
    state[e, 1] = -1.0 + (1.0 - -1.0) * drawn[e, first + 1]


def _observe(state: np.ndarray, e: int, out: np.ndarray) -> None:
    out[0], out[1], out[2] = math.cos(state[e, 0]), math.sin(state[e, 0]), state[e, 1]


TASK = Task(
    env="gymnasium.envs.classic_control:PendulumEnv",
    plant=PLANT,
    documented="Pendulum-v1",
    entries={
        "Drift/Pendulum-v0": Entry(
            base="Pendulum-v1",
            summary="Swing up a rod with a motor of unknown sign and gain, by its angle alone.",
            train={
                "action_sign": SIGNS,
                "action_gain": between((0.7, 1.5)),
                "mass": between((0.7, 1.3)),
                "length": between((0.7, 1.3)),
                "gravity": between((8.0, 12.0)),
                "sensor_noise": always(0.01),
            },
            held_out={
                "action_sign": SIGNS,
                "action_gain": between((0.55, 0.65), (1.6, 1.8)),
                "mass": between((0.55, 0.65), (1.35, 1.45)),
                "length": between((0.55, 0.65), (1.35, 1.45)),
                "gravity": between((6.0, 7.0), (13.0, 14.0)),
                "sensor_noise": always(0.01),
            },
            # Cosine and sine of the angle, no velocity. With the velocity in view an agent without memory scores −344
            # and one that observes the context −144; without it −1,077 and −229 (40,000 steps of MemorySAC, one seed).
            sensors=(0, 1),
            change_scale=20.0,  # a step is 0.05 s: the change is the velocity
            source="mass and length after CaDM (Lee et al. 2020), with a hidden torque gain",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        _observe,
        columns=lambda e: (e.max_torque, e.max_speed, 3 * e.g / (2 * e.l), 3.0 / (e.m * e.l**2), e.dt),
        reads=2,
        write=set_state_of("last_u", size=2),
    ),
)

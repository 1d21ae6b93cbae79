"""MountainCar, whose gears may be reversed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.task import SIGNS, Entry, Task, always, between

CAR = {
    "max_speed": attribute("max_speed", "m/step", "where the velocity is cut off"),
    "goal_position": attribute("goal_position", "m", "where the goal lies", positive=False),
    "goal_velocity": attribute("goal_velocity", "m/step", "how fast it has to be passed", positive=False),
}
"""The parameters of both mountain cars."""

PLANT = Plant(
    parameters={
        "force": attribute("force", "m/step²", "acceleration by the engine"),
        "gravity": attribute("gravity", "m/step²", "pull of the hill"),
        **CAR,
    },
    state=("state",),
)


def car_columns(env: Any) -> tuple[float, ...]:
    """The constants of both mountain cars."""
    return env.min_position, env.max_position, env.max_speed, env.goal_position, env.goal_velocity


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    low, high, max_speed, goal, goal_speed = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4]
    )  # fmt: skip
    place, speed = state[e, 0], state[e, 1]
    speed = speed + ((x[0] - 1.0) * columns[e, 5] + math.cos(3 * place) * -columns[e, 6])
    speed = min(max(speed, -max_speed), max_speed)
    place = min(max(place + speed, low), high)
    if place == low and speed < 0:
        speed = 0.0
    state[e, 0], state[e, 1] = place, speed
    return -1.0, place >= goal and speed >= goal_speed


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    state[e, 0] = -0.6 + (-0.4 - -0.6) * drawn[e, first]


def observe_car(state: np.ndarray, e: int, out: np.ndarray) -> None:
    """Place and speed."""
    out[0], out[1] = state[e, 0], state[e, 1]


TASK = Task(
    env="gymnasium.envs.classic_control:MountainCarEnv",
    plant=PLANT,
    documented="MountainCar-v0",
    entries={
        "Drift/MountainCar-v0": Entry(
            base="MountainCar-v0",
            summary="Rock out of a valley with an engine whose gears may be reversed, weak or strong.",
            train={
                "action_sign": SIGNS,
                "force": between((0.0008, 0.0016)),
                "gravity": between((0.0022, 0.0028)),
                "sensor_noise": always(0.005),
            },
            held_out={
                "action_sign": SIGNS,
                "force": between((0.0006, 0.00075), (0.0018, 0.0022)),
                "gravity": between((0.0018, 0.0021), (0.0029, 0.0032)),
                "sensor_noise": always(0.005),
            },
            change_scale=(20.0, 100.0),
            source="force within the range of Packer et al. 2018, with a hidden action sign",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        observe_car,
        columns=lambda e: (*car_columns(e), e.force, e.gravity),
        reads=1,
        write=set_state_of(size=2),
    ),
)

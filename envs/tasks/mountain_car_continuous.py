"""MountainCarContinuous, whose throttle may be reversed.

Its gravity is a number in Gymnasium's code, and no parameter.
"""

from __future__ import annotations

import math

import numpy as np

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of, state_of
from envs.tasks.mountain_car import CAR, car_columns, observe_car
from envs.tasks.task import SIGNS, Entry, Task, always, between

PLANT = Plant(
    parameters={
        "power": attribute("power", "m/step²", "acceleration by the engine at full throttle"),
        **CAR,
    },
    state=("state",),
)


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    """The third entry of the state says that it is a start, which Gymnasium keeps in double precision."""
    low, high, max_speed, goal, goal_speed, power, gravity = (
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4], columns[e, 5], columns[e, 6]
    )  # fmt: skip
    place, speed, single = state[e, 0], state[e, 1], state[e, 2] == 0.0
    thrice = np.float64(np.float32(3.0) * np.float32(place)) if single else 3 * place
    if -1.0 <= x[0] <= 1.0:
        push = np.float32(x[0]) * np.float32(power) - np.float32(gravity * math.cos(thrice))
        gain = np.float64(push)
    else:
        gain = min(max(x[0], -1.0), 1.0) * power - gravity * math.cos(thrice)
    speed = np.float64(np.float32(speed) + np.float32(gain)) if single else speed + gain
    speed = min(max(speed, -max_speed), max_speed)
    place = np.float64(np.float32(place) + np.float32(speed)) if single else place + speed
    place = max(min(place, high), low)
    if place == low and speed < 0:
        speed = 0.0
    done = place >= (np.float64(np.float32(goal)) if single else goal) and speed >= goal_speed
    state[e, 0], state[e, 1], state[e, 2] = np.float32(place), np.float32(speed), 0.0
    return (100.0 if done else 0.0) - x[0] * x[0] * 0.1, done


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    state[e, 0] = -0.6 + (-0.4 - -0.6) * drawn[e, first]
    state[e, 2] = 1.0


TASK = Task(
    env="gymnasium.envs.classic_control:Continuous_MountainCarEnv",
    plant=PLANT,
    documented="MountainCarContinuous-v0",
    entries={
        "Drift/MountainCarContinuous-v0": Entry(
            base="MountainCarContinuous-v0",
            summary="Rock out of a valley with an engine whose throttle may be reversed, weak or strong.",
            train={
                "action_sign": SIGNS,
                "power": between((0.0012, 0.002)),
                "sensor_noise": always(0.005),
            },
            held_out={
                "action_sign": SIGNS,
                "power": between((0.0009, 0.0011), (0.0022, 0.0026)),
                "sensor_noise": always(0.005),
            },
            change_scale=(20.0, 100.0),
            source="power after the force of Packer et al. 2018, with a hidden action sign",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        observe_car,
        columns=lambda e: (*car_columns(e), e.power, 0.0025),
        reads=1,
        read=lambda e: [*state_of(e), float(e.state.dtype == np.float64)],
        write=set_state_of(size=2, dtype=np.float32),
        knows=lambda e: (e.min_action, e.max_action) == (-1.0, 1.0),
    ),
)

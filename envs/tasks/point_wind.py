"""PointWind: fly from waypoint to waypoint in a hidden wind, by a compass that deviates.

A craft that reaches the waypoint is paid, and the next one appears. The compass deviates by a hidden `heading`, which
turns every thrust, and a hidden wind blows: the same action moves the craft north or south. With sensor noise as large
as a step (the default drift has it) one transition says little of the heading; several say it clearly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.point import PARAMETERS, PointEnv, draw_keys, moved, random_place, thrust
from envs.tasks.task import Base, Entry, Task, always, between


def wind_step(
    x: float, y: float, goal_x: float, goal_y: float, key: int, count: int,
    a_x: float, a_y: float, wind_x: float, wind_y: float, heading: float, speed: float, radius: float,
    distance_cost: float,
) -> tuple[float, float, float, float, int, float]:  # fmt: skip
    """One step of PointWind: the new x, y, goal_x, goal_y and count, and the reward."""
    step_x, step_y = thrust(a_x, a_y, heading, speed)
    x, y = moved(x, y, step_x + wind_x, step_y + wind_y)
    distance = math.sqrt(
        (x - goal_x) * (x - goal_x) + (y - goal_y) * (y - goal_y)
    )  # a power rounds otherwise
    if distance > radius:
        return x, y, goal_x, goal_y, count, -distance_cost * distance
    goal_x, goal_y = random_place(key, count, 0.9)
    return x, y, goal_x, goal_y, count + 1, 1.0


class PointWindEnv(PointEnv):
    """Waypoint after waypoint, with a hidden wind and a compass that deviates.

    Observation [2]: from the craft to the waypoint, m. State [6]: x, y of the craft and of the waypoint (m), the
    episode's key, and how many places were drawn. Parameters, as attributes: `wind_x`, `wind_y` (m/step), `heading`
    (rad), `speed` (m/step), `radius` (m).
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode)
        self.wind_x = self.wind_y = self.heading = 0.0
        self.observation_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        key = self.new_key(seed)
        self.state = np.array([*random_place(key, 0, 1.0), *random_place(key, 1, 0.9), key, 2])
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, y, goal_x, goal_y, key, count = self.state.tolist()
        *start, reward = wind_step(
            x, y, goal_x, goal_y, int(key), int(count), float(action[0]), float(action[1]),
            self.wind_x, self.wind_y, self.heading, self.speed, self.radius,
            self.distance_cost,
        )  # fmt: skip
        self.state = np.array([*start[:4], key, start[4]])
        return self._observe(), reward, False, False, {}

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        x, y, goal_x, goal_y = self.state[:4].tolist()
        return self.picture([(goal_x, goal_y, self.radius, (160, 210, 160)), (x, y, 0.05, (40, 70, 160))])

    def _observe(self) -> np.ndarray:
        return (self.state[2:4] - self.state[:2]).astype(np.float32)


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    state[e, 0], state[e, 1], state[e, 2], state[e, 3], state[e, 5], reward = wind_step(
        state[e, 0], state[e, 1], state[e, 2], state[e, 3], int(state[e, 4]), int(state[e, 5]), x[0], x[1],
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], columns[e, 4], columns[e, 5],
    )  # fmt: skip
    return reward, False


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    key = drawn[e, first]
    state[e, 0], state[e, 1] = random_place(int(key), 0, 1.0)
    state[e, 2], state[e, 3] = random_place(int(key), 1, 0.9)
    state[e, 4], state[e, 5] = key, 2


def _observe(state: np.ndarray, e: int, out: np.ndarray) -> None:
    out[0], out[1] = state[e, 2] - state[e, 0], state[e, 3] - state[e, 1]


PLANT = Plant(
    parameters={
        "wind_x": attribute("wind_x", "m/step", "wind along x", positive=False),
        "wind_y": attribute("wind_y", "m/step", "wind along y", positive=False),
        "heading": attribute("heading", "rad", "how far the compass deviates", positive=False),
        **PARAMETERS,
    },
    state=("state",),
)

TASK = Task(
    env="envs.tasks:PointWindEnv",
    plant=PLANT,
    documented="Base/PointWind-v0",
    bases={"Base/PointWind-v0": Base("envs.tasks.point_wind:PointWindEnv", 200)},
    entries={
        "Drift/PointWind-v0": Entry(
            base="Base/PointWind-v0",
            summary="Fly from waypoint to waypoint in a hidden wind, by a compass that deviates.",
            train={
                "wind_x": between((-0.04, 0.04)),
                "wind_y": between((-0.04, 0.04)),
                "heading": between((-0.4, 0.4), (2.74, 3.54)),
                "sensor_noise": always(0.08),
            },
            held_out={
                "wind_x": between((-0.06, -0.045), (0.045, 0.06)),
                "wind_y": between((-0.06, -0.045), (0.045, 0.06)),
                "heading": between((-0.8, -0.5), (0.5, 0.8), (2.3, 2.6), (3.7, 4.0)),
                "sensor_noise": always(0.08),
            },
            change_scale=4.0,
            source="wind after Ni et al. 2022, with a hidden heading",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        _observe,
        columns=lambda e: (e.wind_x, e.wind_y, e.heading, e.speed, e.radius, e.distance_cost),
        reads=1,
        draw=draw_keys,
        write=set_state_of(size=6),
    ),
)

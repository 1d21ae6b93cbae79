"""PointGoal: the water maze of Morris (1984).

A platform under the surface cannot be seen. A craft that finds it is paid, moved to a random place and held there for
`pause` steps, and may search again: the platform stays where it was, so it is worth remembering. The pause keeps an
agent without memory from carrying the direction over in its previous action.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.plants import BatchedDynamics, Plant, attribute
from envs.plants.dynamics import set_state_of
from envs.tasks.point import PARAMETERS, PointEnv, draw_keys, moved, random_place, thrust
from envs.tasks.task import Base, Entry, Task, between


def goal_step(
    x: float, y: float, waiting: int, key: int, count: int,
    a_x: float, a_y: float, goal_x: float, goal_y: float, speed: float, radius: float, pause: int,
    distance_cost: float,
) -> tuple[float, float, int, int, float]:  # fmt: skip
    """One step of PointGoal: the new x, y, steps left to wait and count, and the reward."""
    if waiting > 0:
        return x, y, waiting - 1, count, 0.0
    step_x, step_y = thrust(a_x, a_y, 0.0, speed)
    x, y = moved(x, y, step_x, step_y)
    distance = math.sqrt(
        (x - goal_x) * (x - goal_x) + (y - goal_y) * (y - goal_y)
    )  # a power rounds otherwise
    if distance > radius:
        return x, y, 0, count, -distance_cost * distance
    x, y = random_place(key, count, 1.0)
    return x, y, pause, count + 1, 1.0


class PointGoalEnv(PointEnv):
    """Find the hidden platform, be moved elsewhere, return to it.

    Observation [3]: x, y of the craft (m), and 1 while it is held, else 0. State [5]: x, y, steps left to wait, the
    episode's key, and how many places were drawn. Parameters, as attributes: `goal_x`, `goal_y` (m), `speed`
    (m/step), `radius` (m).
    """

    def __init__(self, render_mode: str | None = None, pause: int = 4) -> None:
        super().__init__(render_mode)
        self.goal_x = self.goal_y = 0.0
        self.pause = pause
        low = np.array([-1.0, -1.0, 0.0], np.float32)
        self.observation_space = spaces.Box(low, np.ones(3, np.float32), dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        key = self.new_key(seed)
        self.state = np.array([*random_place(key, 0, 1.0), 0.0, key, 1])
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, y, waiting, key, count = self.state.tolist()
        x, y, waiting, count, reward = goal_step(
            x, y, int(waiting), int(key), int(count), float(action[0]), float(action[1]),
            self.goal_x, self.goal_y, self.speed, self.radius, self.pause,
            self.distance_cost,
        )  # fmt: skip
        self.state = np.array([x, y, waiting, key, count])
        return self._observe(), reward, False, False, {}

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        x, y, waiting = self.state[:3].tolist()
        craft = (150, 150, 150) if waiting else (40, 70, 160)
        return self.picture([(self.goal_x, self.goal_y, self.radius, (230, 190, 150)), (x, y, 0.05, craft)])

    def _observe(self) -> np.ndarray:
        x, y, waiting = self.state[:3].tolist()
        return np.array([x, y, waiting > 0], np.float32)


def _move(state: np.ndarray, e: int, x: np.ndarray, columns: np.ndarray, two: float) -> tuple[float, bool]:
    state[e, 0], state[e, 1], state[e, 2], state[e, 4], reward = goal_step(
        state[e, 0], state[e, 1], int(state[e, 2]), int(state[e, 3]), int(state[e, 4]), x[0], x[1],
        columns[e, 0], columns[e, 1], columns[e, 2], columns[e, 3], int(columns[e, 4]), columns[e, 5],
    )  # fmt: skip
    return reward, False


def _start(state: np.ndarray, e: int, drawn: np.ndarray, first: int) -> None:
    key = drawn[e, first]
    state[e, 0], state[e, 1] = random_place(int(key), 0, 1.0)
    state[e, 3], state[e, 4] = key, 1


def _observe(state: np.ndarray, e: int, out: np.ndarray) -> None:
    out[0], out[1], out[2] = state[e, 0], state[e, 1], state[e, 2] > 0


PLANT = Plant(
    parameters={
        "goal_x": attribute("goal_x", "m", "place of the hidden platform along x", positive=False),
        "goal_y": attribute("goal_y", "m", "place of the hidden platform along y", positive=False),
        **PARAMETERS,
    },
    state=("state",),
)

TASK = Task(
    env="envs.tasks:PointGoalEnv",
    plant=PLANT,
    documented="Base/PointGoal-v0",
    bases={"Base/PointGoal-v0": Base("envs.tasks.point_goal:PointGoalEnv", 200)},
    entries={
        "Drift/PointGoal-v0": Entry(
            base="Base/PointGoal-v0",
            summary="Find a platform that cannot be seen, and return to it from random places.",
            train={"goal_x": between((-0.7, 0.7)), "goal_y": between((-0.7, 0.7))},
            held_out={
                "goal_x": between((-0.9, -0.75), (0.75, 0.9)),
                "goal_y": between((-0.9, -0.75), (0.75, 0.9)),
            },
            change_scale=1.0,  # a move to a random place is a change of order one
            source="the water maze of Morris 1984",
        ),
    },
    dynamics=BatchedDynamics(
        _move,
        _start,
        _observe,
        columns=lambda e: (e.goal_x, e.goal_y, e.speed, e.radius, e.pause, e.distance_cost),
        reads=1,
        draw=draw_keys,
        write=set_state_of(size=5),
    ),
)

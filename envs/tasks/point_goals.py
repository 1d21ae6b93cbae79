"""PointGoals: several hidden platforms, as in PointGoal, and a cue that says which of them pays now.

A craft that finds it observes the cue of another one, drawn at random, so that each has to be found once and then
returned to. Distance costs nothing here: three distances would give a place away, without memory. The return is the
number of arrivals.

What memory is worth there: within t steps a craft comes within `radius` r of a region of at most π r² + 2 r v t (m²),
v the speed. A course without memory does not depend on where in its square, of side a, the platform lies, so that at
best it has found the platform with probability (π r² + 2 r v t) / a², and a mean search takes at least
(a² − π r²)² / (4 a² r v) steps: 21.5 in the training ranges (a = 1.4 m), where the straight way takes 7.6 on average.
What an agent may carry from action to action (TransitionObservation) is the place it has just left, whose turn comes
again after a whole trip to another one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces

from envs.keyed_random import keyed_below
from envs.plants import Plant, PlantParameter
from envs.tasks.point import PARAMETERS, PointEnv, random_place
from envs.tasks.point_goal import goal_step
from envs.tasks.task import Base, Entry, Task, between

MOST_PLATFORMS = 8


def next_cue(cue: int, platforms: int, key: int, count: int) -> int:
    """The cue after this one: any other, as likely as each, by the episode's key and the places drawn in it."""
    return (cue + 1 + keyed_below(key, "cue", "next", count, platforms - 1)) % platforms


class PointGoalsEnv(PointEnv):
    """Find hidden platforms by turns, and return to each whenever its cue is shown.

    Observation [3 + P]: x, y of the craft (m), 1 while it is held, else 0, and the cue, one-hot. State [6]: x, y, steps
    left to wait, the episode's key, how many places were drawn, and the cue. Parameters: `goals` [P, 2], the places of
    the platforms (m), by the names goal_0_x, goal_0_y, …; as attributes `speed` (m/step), `radius` (m) and
    `distance_cost` (1/m), 0 here. The return is the number of arrivals.
    """

    def __init__(self, render_mode: str | None = None, platforms: int = 4, pause: int = 4) -> None:
        """Sets up the task.

        Args:
            render_mode: None or "rgb_array".
            platforms: P, the difficulty; from 2 to 8.
            pause: steps for which the craft is held after an arrival.
        """
        super().__init__(render_mode)
        if not 2 <= platforms <= MOST_PLATFORMS:
            raise ValueError(
                f"platforms={platforms}, expected platforms to tell apart: give 2 to {MOST_PLATFORMS}."
            )
        self.platforms, self.pause = platforms, pause
        self.distance_cost = 0.0
        self.goals = np.zeros((platforms, 2))
        low = np.append([-1.0, -1.0], np.zeros(1 + platforms)).astype(np.float32)
        self.observation_space = spaces.Box(low, 1.0, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        key = self.new_key(seed)
        cue = keyed_below(key, "cue", "first", 0, self.platforms)
        self.state = np.array([*random_place(key, 0, 1.0), 0.0, key, 1, cue])
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        x, y, waiting, key, before, cue = self.state.tolist()
        goal_x, goal_y = self.goals[int(cue)].tolist()
        x, y, waiting, count, reward = goal_step(
            x, y, int(waiting), int(key), int(before), float(action[0]), float(action[1]),
            goal_x, goal_y, self.speed, self.radius, self.pause,
            self.distance_cost,
        )  # fmt: skip
        if count > before:
            cue = next_cue(int(cue), self.platforms, int(key), count)
        self.state = np.array([x, y, waiting, key, count, cue])
        return self._observe(), reward, False, False, {}

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        x, y, waiting, *_, cue = self.state.tolist()
        craft = (150, 150, 150) if waiting else (40, 70, 160)
        discs = [(goal_x, goal_y, self.radius, (235, 225, 215)) for goal_x, goal_y in self.goals.tolist()]
        pays = (*self.goals[int(cue)].tolist(), self.radius, (230, 190, 150))
        return self.picture([*discs, pays, (x, y, 0.05, craft)])

    def _observe(self) -> np.ndarray:
        x, y, waiting, *_, cue = self.state.tolist()
        return np.array([x, y, waiting > 0, *(np.arange(self.platforms) == cue)], np.float32)


def _place(platform: int, axis: int) -> PlantParameter:
    def write(env: Any, value: float) -> None:
        env.goals[platform, axis] = value

    return PlantParameter(
        "m",
        f"place of platform {platform} along {'xy'[axis]}",
        positive=False,
        read=lambda env: float(env.goals[platform, axis]),
        write=write,
    )


@cache
def _plant(platforms: int) -> Plant:
    """The plant of a PointGoals of so many platforms."""
    places = {f"goal_{i}_{'xy'[axis]}": _place(i, axis) for i in range(platforms) for axis in range(2)}
    return Plant(parameters={**places, **PARAMETERS}, state=("state",))


def entry(platforms: int = 4) -> Entry:
    """PointGoals with so many platforms, whose places drift independently."""
    places = [f"goal_{i}_{axis}" for i in range(platforms) for axis in "xy"]
    return Entry(
        base="Base/PointGoals-v0",
        summary="Find several platforms that cannot be seen, and return to the one that a cue names.",
        train=dict.fromkeys(places, between((-0.7, 0.7))),
        held_out=dict.fromkeys(places, between((-0.9, -0.75), (0.75, 0.9))),
        change_scale=1.0,  # as PointGoal
        source="as Drift/PointGoal-v0",
        shown=False,
        arguments={"platforms": platforms},
        given=entry,
    )


TASK = Task(
    env="envs.tasks:PointGoalsEnv",
    plant=lambda env: _plant(env.platforms),
    documented="Base/PointGoals-v0",
    bases={"Base/PointGoals-v0": Base("envs.tasks.point_goals:PointGoalsEnv", 400)},
    entries={"Drift/PointGoals-v0": entry()},
)

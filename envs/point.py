"""Navigation of a point in the plane: PointWind hides how the craft answers, PointGoal and PointGoals where to go.

The arena is the square [−1, 1]² (m). An action is a thrust of at most length 1 (longer ones are shortened), which
moves the point by at most `speed` metres a step; walls stop it. All tasks pay 1 for every arrival (within `radius`)
and go on; every step costs `distance_cost` times the distance to the goal, which shows beginners the way.

PointWind: fly to the waypoint, whereupon the next one appears. The compass deviates by a hidden `heading`, which turns
every thrust, and a hidden wind blows: the same action moves the craft north or south. With sensor noise as large as a
step (the default drift has it) one transition says little of the heading; several say it clearly.

PointGoal: the water maze of Morris (1984). A platform under the surface cannot be seen; who finds it is paid, put down
anywhere and held there for `pause` steps, and may search again: the platform stays where it was, so it is worth
remembering. The pause keeps who has no memory from carrying the direction over in their previous action.

PointGoals: several such platforms, and a cue that says which of them pays now. Who finds it is shown the cue of another
one, drawn at random, so that each has to be found once and then returned to. Distance costs nothing here: three
distances would tell a place anew, without remembering it. The return is the number of arrivals.

What memory is worth there: within t steps a craft comes within `radius` r of a region of at most π r² + 2 r v t (m²),
v the speed. A course without memory does not depend on where in its square, of side a, the platform lies, so that at
best it has found it with probability (π r² + 2 r v t) / a², and a mean search takes at least
(a² − π r²)² / (4 a² r v) steps: 21.5 in the training ranges (a = 1.4 m), where the straight way takes 7.6 on average.
What an agent may carry from action to action (TransitionObservation) is the place it has just left, whose turn comes
again after a whole trip to another one.

The dynamics are pure functions of plain numbers that Numba can compile. Random places are a hash of an episode's key
and of how many were drawn before, so that an episode is a function of its state alone. The hash is the finaliser of
MurmurHash3 (Appleby 2011).
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

KEYS = 2**32
"""Episode keys are the integers below."""
FIRST_CUE = 2**31
"""Cues are the hashes of numbers from here on, places those of the numbers below."""
MOST_PLATFORMS = 8


def random_place(key: int, count: int, reach: float) -> tuple[float, float]:
    """Place number `count` of the episode with this key, uniform in [−reach, reach]²."""
    return reach * (2.0 * hashed(key, 2 * count) - 1.0), reach * (2.0 * hashed(key, 2 * count + 1) - 1.0)


def hashed(key: int, number: int) -> float:
    """A number in [0, 1) that is a pure function of key and number, both below 2**32."""
    word = (int(key) ^ int(number) * 0x9E3779B9) & 0xFFFFFFFF
    word = ((word ^ word >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
    word = ((word ^ word >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return (word ^ word >> 16) / 4294967296.0


def moved(x: float, y: float, step_x: float, step_y: float) -> tuple[float, float]:
    """Where the point comes to lie: at the walls at most."""
    return min(max(x + step_x, -1.0), 1.0), min(max(y + step_y, -1.0), 1.0)


def thrust(a_x: float, a_y: float, heading: float, speed: float) -> tuple[float, float]:
    """How far (m) an action moves the point: shortened to length 1, turned by `heading` (rad), times `speed`."""
    scale = speed / max(math.sqrt(a_x * a_x + a_y * a_y), 1.0)
    cos, sin = math.cos(heading), math.sin(heading)
    return scale * (cos * a_x - sin * a_y), scale * (sin * a_x + cos * a_y)


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


def next_cue(cue: int, platforms: int, key: int, count: int) -> int:
    """The cue after this one: any other, as likely as each, by the episode's key and the places drawn in it."""
    return (cue + 1 + int((platforms - 1) * hashed(key, FIRST_CUE + count))) % platforms


class _PointEnv(gym.Env):
    """What the tasks share: the actions, the key of an episode, pictures."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    state: np.ndarray  # float64

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode={render_mode!r}: expected None or "rgb_array".')
        self.render_mode = render_mode
        self.speed = 0.1
        self.radius = 0.2
        self.distance_cost = 0.1
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def _new_key(self, seed: int | None) -> int:
        gym.Env.reset(self, seed=seed)
        return int(self.np_random.integers(KEYS))

    def _picture(self, discs: list[tuple[float, float, float, tuple[int, int, int]]]) -> np.ndarray:
        """An image, uint8 [240, 240, 3], of discs (x, y, radius, colour) painted in turn on white."""
        line = np.linspace(-1.1, 1.1, 240)
        image = np.full((240, 240, 3), 255, np.uint8)
        image[(np.abs(line)[:, None] > 1) | (np.abs(line)[None] > 1)] = 200  # beyond the walls
        for x, y, radius, colour in discs:
            image[(line[None] - x) ** 2 + (-line[:, None] - y) ** 2 <= radius**2] = colour
        return image


class PointWindEnv(_PointEnv):
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
        key = self._new_key(seed)
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
        return self._picture([(goal_x, goal_y, self.radius, (160, 210, 160)), (x, y, 0.05, (40, 70, 160))])

    def _observe(self) -> np.ndarray:
        return (self.state[2:4] - self.state[:2]).astype(np.float32)


class PointGoalEnv(_PointEnv):
    """Find the hidden platform, be put down elsewhere, return to it.

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
        key = self._new_key(seed)
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
        return self._picture([(self.goal_x, self.goal_y, self.radius, (230, 190, 150)), (x, y, 0.05, craft)])

    def _observe(self) -> np.ndarray:
        x, y, waiting = self.state[:3].tolist()
        return np.array([x, y, waiting > 0], np.float32)


class PointGoalsEnv(_PointEnv):
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
        key = self._new_key(seed)
        cue = int(self.platforms * hashed(key, FIRST_CUE))
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
        return self._picture([*discs, pays, (x, y, 0.05, craft)])

    def _observe(self) -> np.ndarray:
        x, y, waiting, *_, cue = self.state.tolist()
        return np.array([x, y, waiting > 0, *(np.arange(self.platforms) == cue)], np.float32)

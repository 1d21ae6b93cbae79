"""What the point tasks share: a point in the plane, random places, pictures.

The arena is the square [−1, 1]² (m). An action is a thrust of at most length 1 (longer ones are shortened), which
moves the point by at most `speed` metres a step; walls stop it. All tasks pay 1 for every arrival (within `radius`)
and go on; every step costs `distance_cost` times the distance to the goal, which shows beginners the way.

The dynamics are pure functions of plain numbers that Numba can compile. Random places are keyed by an episode's key and
by how many were drawn before, so that an episode is a function of its state alone.
"""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.keyed_random import keyed_uniform
from envs.plants import attribute

KEYS = 2**32
"""Episode keys are the integers below."""


def random_place(key: int, count: int, reach: float) -> tuple[float, float]:
    """Place number `count` of the episode with this key, uniform in [−reach, reach]²."""
    x = keyed_uniform(key, "place", "x", count, -reach, reach)
    y = keyed_uniform(key, "place", "y", count, -reach, reach)
    return x, y


def moved(x: float, y: float, step_x: float, step_y: float) -> tuple[float, float]:
    """Where the point comes to lie: at the walls at most."""
    return min(max(x + step_x, -1.0), 1.0), min(max(y + step_y, -1.0), 1.0)


def thrust(a_x: float, a_y: float, heading: float, speed: float) -> tuple[float, float]:
    """How far (m) an action moves the point: shortened to length 1, turned by `heading` (rad), times `speed`."""
    scale = speed / max(math.sqrt(a_x * a_x + a_y * a_y), 1.0)
    cos, sin = math.cos(heading), math.sin(heading)
    return scale * (cos * a_x - sin * a_y), scale * (sin * a_x + cos * a_y)


def draw_keys(generator: np.random.Generator, out: np.ndarray) -> None:
    """The keys of episodes, as resets draw them."""
    out[:] = generator.integers(KEYS, size=len(out))


class PointEnv(gym.Env):
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

    def new_key(self, seed: int | None) -> int:
        """The key of a new episode."""
        gym.Env.reset(self, seed=seed)
        return int(self.np_random.integers(KEYS))

    def picture(self, discs: list[tuple[float, float, float, tuple[int, int, int]]]) -> np.ndarray:
        """An image, uint8 [240, 240, 3], of discs (x, y, radius, colour) painted in turn on white."""
        line = np.linspace(-1.1, 1.1, 240)
        image = np.full((240, 240, 3), 255, np.uint8)
        image[(np.abs(line)[:, None] > 1) | (np.abs(line)[None] > 1)] = 200  # beyond the walls
        for x, y, radius, colour in discs:
            image[(line[None] - x) ** 2 + (-line[:, None] - y) ** 2 <= radius**2] = colour
        return image


PARAMETERS = {
    "speed": attribute("speed", "m/step", "length of the step that a full thrust makes"),
    "radius": attribute("radius", "m", "how near to the goal is an arrival"),
    "distance_cost": attribute("distance_cost", "1/m", "cost of a step, by the distance", positive=False),
}
"""The parameters that all point tasks have."""

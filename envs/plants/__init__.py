"""How a base environment's physical parameters are really set: one plant for each kind of environment."""

from __future__ import annotations

import gymnasium as gym
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.continuous_mountain_car import Continuous_MountainCarEnv
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from envs.plants import classic
from envs.plants.lander import LANDER, RECORDED_LANDER
from envs.plants.mujoco import mujoco_plant
from envs.plants.plant import Plant, PlantParameter
from envs.point import PointGoalEnv, PointGoalsEnv, PointWindEnv

__all__ = ["BARE", "Plant", "PlantParameter", "find_plant"]

BARE = Plant({})

_PLANTS: tuple[tuple[type[gym.Env], Plant], ...] = (
    (CartPoleEnv, classic.CARTPOLE),
    (PendulumEnv, classic.PENDULUM),
    (AcrobotEnv, classic.ACROBOT),
    (MountainCarEnv, classic.MOUNTAIN_CAR),
    (Continuous_MountainCarEnv, classic.MOUNTAIN_CAR_CONTINUOUS),
    (PointWindEnv, classic.POINT_WIND),
    (PointGoalEnv, classic.POINT_GOAL),
)
_LANDERS = {"RecordedLander": RECORDED_LANDER, "LunarLander": LANDER}  # by name: importing them needs Box2D


def find_plant(env: gym.Env) -> Plant:
    """The plant of an environment; one without parameters (`BARE`) where it is not known here."""
    bare = env.unwrapped
    if isinstance(bare, PointGoalsEnv):
        return classic.point_goals(bare.platforms)
    known = next((plant for kind, plant in _PLANTS if isinstance(bare, kind)), None)
    lander = next((_LANDERS[kind.__name__] for kind in type(bare).__mro__ if kind.__name__ in _LANDERS), None)
    return known or lander or mujoco_plant(bare) or BARE

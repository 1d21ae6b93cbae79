"""The tasks: every kind of environment that can drift, and the probes of memory, one file each.

A file declares the plant, the ranges of the catalogue's ids and the batched dynamics of its environment; one line here
adds it. Files of our own environments that need MuJoCo or Box2D are imported by Gymnasium when one is made.
"""

from __future__ import annotations

import gymnasium as gym

from envs.plants import Plant
from envs.tasks import (
    acrobot,
    ant,
    cartpole,
    half_cheetah,
    hopper,
    inverted_pendulum,
    lunar_lander,
    mountain_car,
    mountain_car_continuous,
    mujoco_bodies,
    pairs,
    pendulum,
    point_goal,
    point_goals,
    point_wind,
    recall,
    repeat,
    walker2d,
)
from envs.tasks.task import Base, Entry, ProbeEntry, Task

__all__ = [
    "BARE",
    "BASES",
    "CATALOGUE",
    "PROBES",
    "TASKS",
    "Entry",
    "ProbeEntry",
    "Task",
    "find_plant",
    "find_task",
]

TASKS: tuple[Task, ...] = (
    cartpole.TASK,
    pendulum.TASK,
    acrobot.TASK,
    mountain_car.TASK,
    mountain_car_continuous.TASK,
    point_wind.TASK,
    point_goal.TASK,
    point_goals.TASK,
    lunar_lander.TASK,
    lunar_lander.RECORDED,
    inverted_pendulum.TASK,
    hopper.TASK,
    walker2d.TASK,
    half_cheetah.TASK,
    half_cheetah.VELOCITY,
    ant.TASK,
    *mujoco_bodies.TASKS,
)
PROBES: dict[str, ProbeEntry] = {**recall.PROBE, **pairs.PROBE, **repeat.PROBE}
"""The probes, in which nothing drifts, by id."""

BASES: dict[str, Base] = {name: base for task in TASKS for name, base in task.bases.items()}
"""Our own base environments, without drift, by id."""
CATALOGUE: dict[str, Entry] = {name: entry for task in TASKS for name, entry in task.entries.items()}
"""The drifting environments, by id."""
BARE = Plant({})
"""The plant of environments that are not known here."""


def find_task(env: gym.Env) -> Task | None:
    """The task of an environment, by the nearest of its classes that has one; None where it is not known here."""
    for kind in type(env.unwrapped).__mro__:
        for task in TASKS:
            if task.describes(kind):
                return task
    return None


def find_plant(env: gym.Env) -> Plant:
    """The plant of an environment; one without parameters (`BARE`) where it is not known here."""
    task = find_task(env)
    return BARE if task is None else task.plant_of(env.unwrapped)

"""Hopper of MuJoCo, under other masses, gravity and friction, with motors that may be reversed.

It is seen through encoders: positions and angles, with noise, and no velocities. Their change over a step shows the
velocity, and it takes two such changes to see what an action did to it.
"""

from __future__ import annotations

from envs.plants.mujoco import LEGGED
from envs.schedules import Choice, Uniform
from envs.tasks.task import SIGNS, Entry, Task, always, between

TRAIN: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "mass": between((0.75, 1.25)),
    "gravity": between((8.0, 12.0)),
    "friction": between((0.5, 1.5)),
    "sensor_noise": always(0.02),
}
HELD_OUT: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "mass": between((0.2, 0.5), (1.5, 1.8)),
    "gravity": between((5.0, 7.0), (13.0, 15.0)),
    "friction": between((0.2, 0.4), (1.7, 2.2)),
    "sensor_noise": always(0.02),
}

TASK = Task(
    env="gymnasium.envs.mujoco:HopperEnv",
    plant=LEGGED,
    documented="Hopper-v5",
    entries={
        "Drift/Hopper-v0": Entry(
            base="Hopper-v5",
            summary="Hop with motors that may be reversed, under other masses, gravity and friction.",
            train=TRAIN,
            held_out=HELD_OUT,
            sensors=(0, 1, 2, 3, 4),
            change_scale=20.0,  # a step is 0.008 s
            source="masses after CaDM (Lee et al. 2020)",
            extra="mujoco",
            shown=False,
        ),
    },
)

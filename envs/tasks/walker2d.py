"""Walker2d of MuJoCo, with the ranges and the encoders of Hopper."""

from __future__ import annotations

from envs.plants.mujoco import LEGGED
from envs.tasks.hopper import HELD_OUT, TRAIN
from envs.tasks.task import Entry, Task

TASK = Task(
    env="gymnasium.envs.mujoco:Walker2dEnv",
    plant=LEGGED,
    documented="Walker2d-v5",
    entries={
        "Drift/Walker2d-v0": Entry(
            base="Walker2d-v5",
            summary="Walk on two legs with motors that may be reversed, under other masses, gravity and friction.",
            train=TRAIN,
            held_out=HELD_OUT,
            sensors=tuple(range(8)),
            change_scale=20.0,  # a step is 0.008 s
            source="masses after CaDM (Lee et al. 2020)",
            extra="mujoco",
            shown=False,
        ),
    },
)

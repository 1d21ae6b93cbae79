"""Ant of MuJoCo, with dead and reversed motors on rough or slippery ground, seen through encoders as Hopper is."""

from __future__ import annotations

from envs.plants.mujoco import LEGGED
from envs.schedules import Choice
from envs.tasks.task import SIGNS, Entry, Task, always, between

TASK = Task(
    env="gymnasium.envs.mujoco:AntEnv",
    plant=LEGGED,
    documented="Ant-v5",
    entries={
        "Drift/Ant-v0": Entry(
            base="Ant-v5",
            summary="Walk with motors that may be reversed, one of them dead, on rough or slippery ground.",
            train={
                "action_sign": SIGNS,
                "crippled": Choice((-1, 0, 1, 2, 3)),
                "friction": between((0.1, 2.0)),
                "mass": between((0.75, 1.25)),
                "sensor_noise": always(0.02),
            },
            held_out={
                "action_sign": SIGNS,
                "crippled": Choice((4, 5)),
                "friction": between((0.02, 0.08), (2.2, 2.6)),
                "mass": between((0.2, 0.5), (1.5, 1.8)),
                "sensor_noise": always(0.02),
            },
            sensors=tuple(range(13)),
            change_scale=5.0,  # a step is 0.05 s
            source="masses after CaDM (Lee et al. 2020), joints after GrBAL (Nagabandi et al. 2019), "
            "friction after SlipperyAnt (Dohare et al. 2024)",
            extra="mujoco",
            shown=False,
        ),
    },
)

"""InvertedPendulum of MuJoCo, whose motor may be reversed, weak or strong."""

from __future__ import annotations

from envs.plants.mujoco import DAMPING, GRAVITY, body
from envs.tasks.task import SIGNS, Entry, Task, always, between

TASK = Task(
    env="gymnasium.envs.mujoco:InvertedPendulumEnv",
    plant=body(gravity=GRAVITY, damping=DAMPING),
    documented="InvertedPendulum-v5",
    entries={
        "Drift/InvertedPendulum-v0": Entry(
            base="InvertedPendulum-v5",
            summary="Balance a pole on a cart whose motor may be reversed, weak or strong, by encoders alone.",
            train={
                "action_sign": SIGNS,
                "gear": between((0.6, 1.4)),
                "gravity": between((7.0, 13.0)),
                "sensor_noise": always(0.005),
            },
            held_out={
                "action_sign": SIGNS,
                "gear": between((0.4, 0.55), (1.5, 1.8)),
                "gravity": between((4.0, 6.0), (14.0, 17.0)),
                "sensor_noise": always(0.005),
            },
            sensors=(0, 1),
            change_scale=20.0,  # a step is 0.04 s
            source="as Drift/CartPole-v0",
            extra="mujoco",
        ),
    },
)

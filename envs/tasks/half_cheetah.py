"""HalfCheetah of MuJoCo, with dead and reversed motors on rough ground, or rewarded for a hidden velocity.

All but HalfCheetahVel is seen through encoders, as Hopper is.
"""

from __future__ import annotations

from envs.plants import attribute
from envs.plants.mujoco import DAMPING, FRICTION, GRAVITY, LEGGED, body
from envs.schedules import Choice
from envs.tasks.task import SIGNS, Base, Entry, Task, always, between

TASK = Task(
    env="gymnasium.envs.mujoco:HalfCheetahEnv",
    plant=LEGGED,
    documented="HalfCheetah-v5",
    entries={
        "Drift/HalfCheetah-v0": Entry(
            base="HalfCheetah-v5",
            summary="Run with motors that may be reversed, one of them dead, on rough or slippery ground.",
            train={
                "action_sign": SIGNS,
                "crippled": Choice((-1, 0, 1, 2, 3)),
                "friction": between((0.4, 1.6)),
                "mass": between((0.75, 1.25)),
                "sensor_noise": always(0.02),
            },
            held_out={
                "action_sign": SIGNS,
                "crippled": Choice((4, 5)),
                "friction": between((0.1, 0.3), (1.8, 2.2)),
                "mass": between((0.2, 0.5), (1.5, 1.8)),
                "sensor_noise": always(0.02),
            },
            sensors=tuple(range(8)),
            change_scale=5.0,  # a step is 0.05 s
            source="masses after CaDM (Lee et al. 2020), joints after GrBAL (Nagabandi et al. 2019)",
            extra="mujoco",
            shown=False,
        ),
    },
)

VELOCITY = Task(
    env="envs.tasks:HalfCheetahVelEnv",
    plant=body(
        gravity=GRAVITY,
        friction=FRICTION,
        damping=DAMPING,
        target_velocity=attribute("target_velocity", "m/s", "velocity that is asked for", positive=False),
    ),
    documented="Base/HalfCheetahVel-v0",
    bases={"Base/HalfCheetahVel-v0": Base("envs.tasks.half_cheetah_vel:HalfCheetahVelEnv", 200)},
    entries={
        "Drift/HalfCheetahVel-v0": Entry(
            base="Base/HalfCheetahVel-v0",
            summary="Run forwards or backwards at a hidden velocity.",
            train={"target_velocity": between((-2.0, -0.5), (0.5, 2.0)), "sensor_noise": always(0.02)},
            held_out={"target_velocity": between((-2.8, -2.2), (2.2, 2.8)), "sensor_noise": always(0.02)},
            change_scale=2.0,
            source="Finn et al. 2017 and variBAD (Zintgraf et al. 2020), with either direction",
            extra="mujoco",
        ),
    },
)

"""Drifting MuJoCo bodies: actuators reversed or dead, other masses and ground, a velocity that nobody tells.

All but the runner by velocity are seen through encoders: positions and angles, with noise, and no velocities. Their
change over a step tells the velocity, and it takes two such changes to tell what an action did to it.
"""

from __future__ import annotations

from envs.entries.entry import SIGNS, Entry, always, between
from envs.schedules import Choice, Uniform

_NOISE = always(0.02)
_CADM = "masses after CaDM (Lee et al. 2020)"
_BALANCE: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "mass": between((0.75, 1.25)),
    "gravity": between((8.0, 12.0)),
    "friction": between((0.5, 1.5)),
    "sensor_noise": _NOISE,
}
_BALANCE_HELD_OUT: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "mass": between((0.2, 0.5), (1.5, 1.8)),
    "gravity": between((5.0, 7.0), (13.0, 15.0)),
    "friction": between((0.2, 0.4), (1.7, 2.2)),
    "sensor_noise": _NOISE,
}

MUJOCO: dict[str, Entry] = {
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
    "Drift/Hopper-v0": Entry(
        base="Hopper-v5",
        summary="Hop with motors that may be reversed, under other masses, gravity and friction.",
        train=_BALANCE,
        held_out=_BALANCE_HELD_OUT,
        sensors=(0, 1, 2, 3, 4),
        change_scale=20.0,  # a step is 0.008 s
        source=_CADM,
        extra="mujoco",
        shown=False,
    ),
    "Drift/Walker2d-v0": Entry(
        base="Walker2d-v5",
        summary="Walk on two legs with motors that may be reversed, under other masses, gravity and friction.",
        train=_BALANCE,
        held_out=_BALANCE_HELD_OUT,
        sensors=tuple(range(8)),
        change_scale=20.0,  # a step is 0.008 s
        source=_CADM,
        extra="mujoco",
        shown=False,
    ),
    "Drift/HalfCheetah-v0": Entry(
        base="HalfCheetah-v5",
        summary="Run with motors that may be reversed, one of them dead, on rough or slippery ground.",
        train={
            "action_sign": SIGNS,
            "crippled": Choice((-1, 0, 1, 2, 3)),
            "friction": between((0.4, 1.6)),
            "mass": between((0.75, 1.25)),
            "sensor_noise": _NOISE,
        },
        held_out={
            "action_sign": SIGNS,
            "crippled": Choice((4, 5)),
            "friction": between((0.1, 0.3), (1.8, 2.2)),
            "mass": between((0.2, 0.5), (1.5, 1.8)),
            "sensor_noise": _NOISE,
        },
        sensors=tuple(range(8)),
        change_scale=5.0,  # a step is 0.05 s
        source=f"{_CADM}, joints after GrBAL (Nagabandi et al. 2019)",
        extra="mujoco",
        shown=False,
    ),
    "Drift/HalfCheetahVel-v0": Entry(
        base="Base/HalfCheetahVel-v0",
        summary="Run forwards or backwards at a velocity that nobody tells.",
        train={"target_velocity": between((-2.0, -0.5), (0.5, 2.0)), "sensor_noise": _NOISE},
        held_out={"target_velocity": between((-2.8, -2.2), (2.2, 2.8)), "sensor_noise": _NOISE},
        change_scale=2.0,
        source="Finn et al. 2017 and variBAD (Zintgraf et al. 2020), with either direction",
        extra="mujoco",
    ),
    "Drift/Ant-v0": Entry(
        base="Ant-v5",
        summary="Walk with motors that may be reversed, one of them dead, on rough or slippery ground.",
        train={
            "action_sign": SIGNS,
            "crippled": Choice((-1, 0, 1, 2, 3)),
            "friction": between((0.1, 2.0)),
            "mass": between((0.75, 1.25)),
            "sensor_noise": _NOISE,
        },
        held_out={
            "action_sign": SIGNS,
            "crippled": Choice((4, 5)),
            "friction": between((0.02, 0.08), (2.2, 2.6)),
            "mass": between((0.2, 0.5), (1.5, 1.8)),
            "sensor_noise": _NOISE,
        },
        sensors=tuple(range(13)),
        change_scale=5.0,  # a step is 0.05 s
        source=f"{_CADM}, joints after GrBAL (Nagabandi et al. 2019), friction after SlipperyAnt (Dohare et al. 2024)",
        extra="mujoco",
        shown=False,
    ),
}

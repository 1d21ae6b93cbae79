"""Drifting classic control: torques and pushes whose sign is hidden, seen through noise."""

from __future__ import annotations

from envs.entries.entry import SIGNS, Entry, always, between

CLASSIC: dict[str, Entry] = {
    "Drift/CartPole-v0": Entry(
        base="CartPole-v1",
        summary="Balance a short or long pole on a cart whose push may be reversed, weak or strong, by encoders alone.",
        train={
            "action_sign": SIGNS,
            "force": between((5.0, 15.0)),
            "half_length": between((0.25, 1.0)),
            "gravity": between((6.0, 14.0)),
            "sensor_noise": always(0.005),  # m and rad
        },
        held_out={
            "action_sign": SIGNS,
            "force": between((2.0, 3.5), (16.5, 20.0)),
            "half_length": between((0.12, 0.2), (1.2, 1.5)),
            "gravity": between((3.0, 5.0), (16.0, 20.0)),
            "sensor_noise": always(0.005),
        },
        sensors=(0, 2),  # encoders: position of the cart (m) and angle of the pole (rad), no velocities
        change_scale=50.0,  # a step is 0.02 s: the change is the velocity
        source="force and lengths after CaDM (Lee et al. 2020), widened, with a hidden action sign",
    ),
    "Drift/Pendulum-v0": Entry(
        base="Pendulum-v1",
        summary="Swing up a rod with a motor of unknown sign and gain, by its angle alone.",
        train={
            "action_sign": SIGNS,
            "action_gain": between((0.7, 1.5)),
            "mass": between((0.7, 1.3)),
            "length": between((0.7, 1.3)),
            "gravity": between((8.0, 12.0)),
            "sensor_noise": always(0.01),
        },
        held_out={
            "action_sign": SIGNS,
            "action_gain": between((0.55, 0.65), (1.6, 1.8)),
            "mass": between((0.55, 0.65), (1.35, 1.45)),
            "length": between((0.55, 0.65), (1.35, 1.45)),
            "gravity": between((6.0, 7.0), (13.0, 14.0)),
            "sensor_noise": always(0.01),
        },
        # Cosine and sine of the angle, no velocity: with it in view an agent without memory scores -344 where one that
        # is told the context has -144, without it -1,077 and -229 (40,000 steps of MemorySAC, one seed).
        sensors=(0, 1),
        change_scale=20.0,  # a step is 0.05 s: the change is the velocity
        source="mass and length after CaDM (Lee et al. 2020), with a hidden torque gain",
    ),
    "Drift/Acrobot-v0": Entry(
        base="Acrobot-v1",
        summary="Swing up two links with a torque of unknown sign and size, by angles alone.",
        train={
            "action_sign": SIGNS,
            "torque": between((0.8, 1.4)),
            "mass_1": between((0.75, 1.25)),
            "mass_2": between((0.75, 1.25)),
            "sensor_noise": always(0.02),
        },
        held_out={
            "action_sign": SIGNS,
            "torque": between((0.6, 0.75), (1.5, 1.8)),
            "mass_1": between((0.5, 0.7), (1.3, 1.5)),
            "mass_2": between((0.5, 0.7), (1.3, 1.5)),
            "sensor_noise": always(0.02),
        },
        sensors=(0, 1, 2, 3),  # cosine and sine of both angles, no velocities
        change_scale=2.0,  # a step is 0.2 s
        source="masses after CaDM (Lee et al. 2020), with a hidden torque",
    ),
    "Drift/MountainCar-v0": Entry(
        base="MountainCar-v0",
        summary="Rock out of a valley with an engine whose gears may be reversed, weak or strong.",
        train={
            "action_sign": SIGNS,
            "force": between((0.0008, 0.0016)),
            "gravity": between((0.0022, 0.0028)),
            "sensor_noise": always(0.005),
        },
        held_out={
            "action_sign": SIGNS,
            "force": between((0.0006, 0.00075), (0.0018, 0.0022)),
            "gravity": between((0.0018, 0.0021), (0.0029, 0.0032)),
            "sensor_noise": always(0.005),
        },
        change_scale=(20.0, 100.0),
        source="force within the range of Packer et al. 2018, with a hidden action sign",
    ),
    "Drift/MountainCarContinuous-v0": Entry(
        base="MountainCarContinuous-v0",
        summary="Rock out of a valley with an engine whose throttle may be reversed, weak or strong.",
        train={
            "action_sign": SIGNS,
            "power": between((0.0012, 0.002)),
            "sensor_noise": always(0.005),
        },
        held_out={
            "action_sign": SIGNS,
            "power": between((0.0009, 0.0011), (0.0022, 0.0026)),
            "sensor_noise": always(0.005),
        },
        change_scale=(20.0, 100.0),
        source="power after the force of Packer et al. 2018, with a hidden action sign",
    ),
}

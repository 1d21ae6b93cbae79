"""The plants of Gymnasium's classic control and of envs.point.

CartPole's total mass and pole mass-length are attributes of their own that Gymnasium fills in once, in the constructor,
and that go stale when a mass or length is set alone: they are derived here. The gravity of Acrobot and of the
continuous MountainCar is a number in Gymnasium's code, and Acrobot's second length enters its pictures only: these are
no parameters.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from envs.plants.plant import Plant, PlantParameter, attribute


def _derive_cartpole(env: CartPoleEnv) -> None:
    # the same expressions as CartPoleEnv.__init__, so that restored parameters restore these to the bit
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length


def _write_torque(env: Any, value: float) -> None:
    env.AVAIL_TORQUE = [-value, 0.0, value]


CARTPOLE = Plant(
    parameters={
        "gravity": attribute("gravity", "m/s²", "gravitational acceleration"),
        "cart_mass": attribute("masscart", "kg", "mass of the cart"),
        "pole_mass": attribute("masspole", "kg", "mass of the pole"),
        "half_length": attribute("length", "m", "half the pole's length"),
        "force": attribute("force_mag", "N", "size of the push"),
        "time_step": attribute("tau", "s", "time between two steps"),
    },
    derive=_derive_cartpole,
    state=("state", "steps_beyond_terminated"),
)

PENDULUM = Plant(
    parameters={
        "gravity": attribute("g", "m/s²", "gravitational acceleration"),
        "mass": attribute("m", "kg", "mass of the rod"),
        "length": attribute("l", "m", "length of the rod"),
        "max_torque": attribute("max_torque", "N m", "where the motor saturates"),
        "max_speed": attribute("max_speed", "rad/s", "where the angular velocity is cut off"),
        "time_step": attribute("dt", "s", "time between two steps"),
    },
    state=("state", "last_u"),
)

ACROBOT = Plant(
    parameters={
        "mass_1": attribute("LINK_MASS_1", "kg", "mass of the first link"),
        "mass_2": attribute("LINK_MASS_2", "kg", "mass of the second link"),
        "length_1": attribute("LINK_LENGTH_1", "m", "length of the first link"),
        "centre_1": attribute("LINK_COM_POS_1", "m", "how far along the first link its centre of mass lies"),
        "centre_2": attribute("LINK_COM_POS_2", "m", "how far along the second link its centre of mass lies"),
        "inertia": attribute("LINK_MOI", "kg m²", "moment of inertia of each link"),
        "torque": PlantParameter(
            "N m",
            "size of the torque",
            positive=True,
            read=lambda env: env.AVAIL_TORQUE[2],
            write=_write_torque,
        ),
        "torque_noise": attribute("torque_noise_max", "N m", "largest random torque", positive=False),
        "max_speed_1": attribute("MAX_VEL_1", "rad/s", "where the first joint's velocity is cut off"),
        "max_speed_2": attribute("MAX_VEL_2", "rad/s", "where the second joint's velocity is cut off"),
        "time_step": attribute("dt", "s", "time between two steps"),
    },
    state=("state",),
)

_CAR = {
    "max_speed": attribute("max_speed", "m/step", "where the velocity is cut off"),
    "goal_position": attribute("goal_position", "m", "where the goal lies", positive=False),
    "goal_velocity": attribute("goal_velocity", "m/step", "how fast it has to be passed", positive=False),
}

MOUNTAIN_CAR = Plant(
    parameters={
        "force": attribute("force", "m/step²", "acceleration by the engine"),
        "gravity": attribute("gravity", "m/step²", "pull of the hill"),
        **_CAR,
    },
    state=("state",),
)

MOUNTAIN_CAR_CONTINUOUS = Plant(
    parameters={
        "power": attribute("power", "m/step²", "acceleration by the engine at full throttle"),
        **_CAR,
    },
    state=("state",),
)

_POINT = {
    "speed": attribute("speed", "m/step", "length of the step that a full thrust makes"),
    "radius": attribute("radius", "m", "how near to the goal is an arrival"),
    "distance_cost": attribute("distance_cost", "1/m", "cost of a step, by the distance", positive=False),
}

POINT_WIND = Plant(
    parameters={
        "wind_x": attribute("wind_x", "m/step", "wind along x", positive=False),
        "wind_y": attribute("wind_y", "m/step", "wind along y", positive=False),
        "heading": attribute("heading", "rad", "how far the compass deviates", positive=False),
        **_POINT,
    },
    state=("state",),
)

POINT_GOAL = Plant(
    parameters={
        "goal_x": attribute("goal_x", "m", "place of the hidden platform along x", positive=False),
        "goal_y": attribute("goal_y", "m", "place of the hidden platform along y", positive=False),
        **_POINT,
    },
    state=("state",),
)


def _place(platform: int, axis: int) -> PlantParameter:
    def write(env: Any, value: float) -> None:
        env.goals[platform, axis] = value

    return PlantParameter(
        "m",
        f"place of platform {platform} along {'xy'[axis]}",
        positive=False,
        read=lambda env: float(env.goals[platform, axis]),
        write=write,
    )


@cache
def point_goals(platforms: int) -> Plant:
    """The plant of a PointGoals of so many platforms."""
    places = {f"goal_{i}_{'xy'[axis]}": _place(i, axis) for i in range(platforms) for axis in range(2)}
    return Plant(parameters={**places, **_POINT}, state=("state",))

"""LunarLander, in both its forms: engines that may be reversed, unknown gravity and wind.

The attributes of the environment and its living Box2D world are set, never the module's constants, so that two landers
share nothing. Wind and turbulence of 0 are no wind: Gymnasium then draws no random numbers for it either.
"""

from __future__ import annotations

from typing import Any

from envs.plants import Plant, PlantParameter
from envs.schedules import Choice, Uniform
from envs.tasks.task import SIGNS, Base, Entry, Task, always, between


def _write_gravity(env: Any, value: float) -> None:
    env.gravity = -value
    env.world.gravity = (0.0, -value)


def _blows(name: str) -> PlantParameter:
    """A strength of the wind, which is 0 while the wind is disabled."""
    other = {"wind_power": "turbulence_power", "turbulence_power": "wind_power"}[name]
    meaning = {"wind_power": "strength of the wind", "turbulence_power": "strength of the torque by the wind"}

    def read(env: Any) -> float:
        return getattr(env, name) if env.enable_wind else 0.0

    def write(env: Any, value: float) -> None:
        if value < 0:
            raise ValueError(f"{name}={value}: expected a strength of at least 0.")
        if not env.enable_wind:
            setattr(env, other, 0.0)
            env.wind_idx = env.torque_idx = (
                0  # where a wind begins that rises in mid-flight; a reset draws anew
            )
        setattr(env, name, value)
        env.enable_wind = env.wind_power > 0 or env.turbulence_power > 0

    return PlantParameter("", meaning[name], positive=False, read=read, write=write)


PLANT = Plant(
    parameters={
        "gravity": PlantParameter(
            "m/s²",
            "gravitational acceleration",
            positive=True,
            read=lambda env: -env.gravity,
            write=_write_gravity,
        ),
        "wind_power": _blows("wind_power"),
        "turbulence_power": _blows("turbulence_power"),
    }
)

_TRAIN: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "gravity": between((7.0, 11.0)),
    "wind_power": between((0.0, 15.0)),
    "turbulence_power": between((0.0, 1.5)),
    "sensor_noise": always(0.05),
}
_HELD_OUT: dict[str, Choice | Uniform] = {
    "action_sign": SIGNS,
    "gravity": between((4.0, 6.0), (11.3, 11.9)),
    "wind_power": between((16.0, 20.0)),
    "turbulence_power": between((1.6, 2.0)),
    "sensor_noise": always(0.05),
}
_SOURCE = "within the limits that Gymnasium names, with a hidden action sign"

TASK = Task(env="gymnasium.envs.box2d:LunarLander", plant=PLANT, documented="LunarLander-v3")

# A Box2D world cannot be saved: our own lander records what led to its state.
RECORDED = Task(
    env="envs.tasks:RecordedLander",
    plant=Plant(
        PLANT.parameters,
        save=lambda env: env.get_state(),
        load=lambda env, state: env.set_state(state),
    ),
    bases={
        "Base/LunarLander-v0": Base("envs.tasks.recorded_lander:RecordedLander", 1000),
        "Base/LunarLanderContinuous-v0": Base(
            "envs.tasks.recorded_lander:RecordedLander", 1000, {"continuous": True}
        ),
    },
    entries={
        "Drift/LunarLander-v0": Entry(
            base="Base/LunarLander-v0",
            summary="Land in wind and unknown gravity with engines whose order may be reversed.",
            train=_TRAIN,
            held_out=_HELD_OUT,
            source=_SOURCE,
            extra="box2d",
            shown=False,
        ),
        "Drift/LunarLanderContinuous-v0": Entry(
            base="Base/LunarLanderContinuous-v0",
            summary="Land in wind and unknown gravity with throttles that may be reversed.",
            train=_TRAIN,
            held_out=_HELD_OUT,
            source=_SOURCE,
            extra="box2d",
        ),
    },
)

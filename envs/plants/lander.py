"""The plant of LunarLander, in both its forms: gravity and wind.

The attributes of the environment and its living Box2D world are set, never the module's constants, so that two landers
share nothing. Wind and turbulence of 0 are no wind: Gymnasium then draws no random numbers for it either.
"""

from __future__ import annotations

from typing import Any

from envs.plants.plant import Plant, PlantParameter


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


LANDER = Plant(
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

# A Box2D world cannot be saved; envs.lander records what led to its state.
RECORDED_LANDER = Plant(
    LANDER.parameters, save=lambda env: env.get_state(), load=lambda env, state: env.set_state(state)
)

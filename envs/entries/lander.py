"""Drifting moon landings."""

from __future__ import annotations

from envs.entries.entry import SIGNS, Entry, always, between
from envs.schedules import Choice, Uniform

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

LANDER: dict[str, Entry] = {
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
}

"""MuJoCo bodies without an id of ours: their plants, for drifts of your own."""

from __future__ import annotations

from envs.plants import Plant
from envs.plants.mujoco import DAMPING, GRAVITY, LEGGED, VISCOSITY, body
from envs.tasks.task import Task

# Gravity is left out where a body lies flat, friction where nothing touches.
_PLANTS: dict[str, Plant] = {
    "Humanoid": LEGGED,
    "HumanoidStandup": LEGGED,
    "Swimmer": body(viscosity=VISCOSITY),
    "Reacher": body(damping=DAMPING),
    "Pusher": body(damping=DAMPING, gravity=GRAVITY),
    "InvertedDoublePendulum": body(gravity=GRAVITY, damping=DAMPING),
}
TASKS = tuple(
    Task(env=f"gymnasium.envs.mujoco:{name}Env", plant=plant, documented=f"{name}-v5")
    for name, plant in _PLANTS.items()
)

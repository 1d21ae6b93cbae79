"""Pictures of a drift: every moving parameter over a lifetime, and frames of the environment on the way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from envs.catalogue import CATALOGUE
from envs.drift import Drift

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _PALE = "#1f4e79", "#c9d6e2"


def draw_drift(
    name: str, drift: Drift, path: Path, *, seed: int = 0, steps: int = 8_000, frames: int = 0
) -> None:
    """Writes a PNG: one strip per moving parameter and, below them, `frames` pictures of the environment.

    The values are those in force by the schedule; with `change_at="episode_end"` they take hold at the next reset.
    What was drawn is kept in the picture's description, see `described`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    moving = list(drift.moving)
    height = 0.55 * len(moving) + 0.7 + (1.6 if frames else 0)
    figure = Figure(figsize=(8, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [1.0] * len(moving) + ([2.6] if frames else [])
    rows = figure.add_gridspec(len(ratios), 1, height_ratios=ratios)
    top: Axes | None = None
    for i, parameter in enumerate(moving):
        axes = figure.add_subplot(rows[i], sharex=top)
        top = top or axes
        _strip(axes, drift, parameter, seed, steps)
        axes.tick_params(labelbottom=i == len(moving) - 1)
        if i == len(moving) - 1:
            axes.set_xlabel("step of the lifetime", fontsize=8)
    figure.suptitle(f"{name}, seed {seed}", fontsize=9)
    if frames:
        _film(figure, rows[len(moving)], name, drift, seed, steps, frames)
    figure.savefig(path, format="png", dpi=100, metadata={"Description": described(name, drift, seed, steps)})


def described(name: str, drift: Drift, seed: int, steps: int) -> str:
    """What a picture shows, as the text that it carries."""
    return json.dumps({"id": name, "drift": drift.to_json(), "seed": seed, "steps": steps})


def _strip(axes: Axes, drift: Drift, parameter: str, seed: int, steps: int) -> None:
    path = drift.parameters[parameter].bind(seed, parameter)
    times = np.unique(np.linspace(0, steps - 1, 800).astype(int))
    values = [path.value(int(t)) for t in times]
    low, high = drift.moving[parameter]
    axes.fill_between([0, steps], low, high, color=_PALE, alpha=0.4, linewidth=0)
    axes.step(times, values, where="post", color=_INK, linewidth=1.2)
    axes.set_xlim(0, steps)
    axes.set_ylabel(parameter, rotation=0, ha="right", va="center", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _film(figure: Figure, place: Any, name: str, drift: Drift, seed: int, steps: int, frames: int) -> None:
    strip = place.subgridspec(1, frames)
    for i, (step, phase, image) in enumerate(film(name, drift, seed, steps, frames)):
        axes = figure.add_subplot(strip[i])
        axes.imshow(image)
        axes.set_axis_off()
        axes.set_title(f"step {step}, phase {phase}", fontsize=7)


def film(name: str, drift: Drift, seed: int, steps: int, frames: int) -> list[tuple[int, int, np.ndarray]]:
    """(step, phase, picture) of up to `frames` episodes of a lifetime under random actions.

    Each is ten steps old: later a runner may have left the picture.
    """
    if CATALOGUE[name].extra == "mujoco" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # a server has no screen
    env = gym.make(name, drift=drift, seed=seed, render_mode="rgb_array", disable_env_checker=True)
    wanted = np.linspace(0, 0.85 * steps, frames).tolist()
    env.action_space.seed(seed)
    env.reset()
    pictures: list[tuple[int, int, np.ndarray]] = []
    age = 0
    for step in range(steps):
        *_, terminated, truncated, info = env.step(env.action_space.sample())
        age += 1
        if age == 10 and len(pictures) < frames and step >= wanted[len(pictures)]:
            pictures.append((step, int(info["phase"]), np.asarray(env.render())))
        if terminated or truncated:
            env.reset()
            age = 0
    env.close()
    return pictures

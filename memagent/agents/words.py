"""SB3's words for settings that a config holds here: MemorySAC("MemoryPolicy", env, learning_rate=1e-3, gamma=0.99)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict, get_type_hints

import numpy as np
from stable_baselines3.common.type_aliases import Schedule

from memagent.agents.config import LearnerConfig
from memagent.replay import ReplayConfig
from memagent.settings import value_of


class Words(TypedDict, total=False):
    """SB3's settings with SB3's meaning; each takes the place of a config's field."""

    learning_rate: float | Schedule  # a schedule has to be linear
    buffer_size: int  # ReplayConfig.capacity
    learning_starts: int
    batch_size: int  # windows, where SB3 counts transitions
    tau: float
    gamma: float
    train_freq: (
        int | tuple[int, str]
    )  # this, gradient_steps and the number of environments are steps_per_update
    gradient_steps: int
    max_grad_norm: float


def in_configs(
    words: Mapping[str, Any], learner: LearnerConfig, replay: ReplayConfig, num_envs: int
) -> tuple[LearnerConfig, ReplayConfig]:
    """The configs with what SB3's words say in place of their fields.

    Raises:
        ValueError: a word has a value that it cannot have.
    """
    kinds = get_type_hints(LearnerConfig)
    words = dict(words)
    if callable(rate := words.get("learning_rate")):
        words |= linear(rate)
    changes = {name: value_of(name, kinds[name], value) for name, value in words.items() if name in kinds}
    if "train_freq" in words or "gradient_steps" in words:
        changes["steps_per_update"] = steps_per_update(
            words.get("train_freq", 1), words.get("gradient_steps", 1), num_envs
        )
    if "buffer_size" in words:
        replay = replace(replay, capacity=value_of("buffer_size", int, words["buffer_size"]))
    return replace(learner, **changes), replay


def linear(schedule: Schedule) -> dict[str, float]:
    """The learner's first and final rate for a schedule of the share of training that is left.

    Raises:
        ValueError: the schedule is not linear.
    """
    first, final = float(schedule(1.0)), float(schedule(0.0))
    for left in (0.25, 0.5, 0.75):
        if not np.isclose(schedule(left), final + left * (first - final)):
            raise ValueError(
                f"learning_rate was given a schedule of {first}, {schedule(0.5)} and {final} at the start, in the "
                "middle and at the end; expected a number or a linear schedule."
            )
    return {"learning_rate": first, "final_learning_rate": final}


def steps_per_update(train_freq: int | tuple[int, str], gradient_steps: int, num_envs: int) -> float:
    """Environment steps, over all environments, from one update to the next.

    Raises:
        ValueError: `train_freq` counts episodes, or a number is not above 0 (`gradient_steps` may be -1: an update for
            every step).
    """
    steps: Any = train_freq
    unit: Any = "step"
    if isinstance(train_freq, tuple | list) and len(train_freq) == 2:
        steps, unit = train_freq
    if getattr(unit, "value", unit) != "step" or not isinstance(steps, int | np.integer) or steps < 1:
        raise ValueError(f"train_freq is {train_freq!r}; give steps of the environments, 1 or more.")
    updates = value_of("gradient_steps", int, gradient_steps)
    if updates == 0 or updates < -1:
        raise ValueError(f"gradient_steps is {gradient_steps}; give a number above 0, or -1.")
    return 1.0 if updates == -1 else float(steps * num_envs / updates)

"""Probes, in which nothing drifts: what each asks for, and settings that suit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from envs.pairs import PairsEnv
from envs.recall import RecallEnv
from envs.repeat import RepeatEnv


@dataclass(frozen=True)
class ProbeEntry:
    """One probe.

    Attributes:
        env: the environment, its difficulty given by arguments.
        summary: one sentence.
        preset: settings of a run that do better here than those of its actions, nested by section.
    """

    env: Callable[..., gym.Env]
    summary: str
    preset: Mapping[str, Any] = field(default_factory=dict)


def many_questions(rows: int) -> dict[str, Any]:
    """A preset for MemoryDQN where every answer is paid at once with 1.

    The horizon is short, as nothing but silence pays later, and windows are as long as an episode of the default
    difficulty: memory is learned through what is shown and asked within one. More difficult ones ask for more rows.
    """
    return {
        "num_envs": 16,
        "learner": {
            "learning_rate": 3e-3,
            "final_learning_rate": 3e-4,
            "gamma": 0.8,
            "reward_scale": 1.0,
            "batch_size": 16,
            "steps_per_update": 16,
            "learning_starts": 1_000,
        },
        "replay": {"capacity": 50_000, "burn_in": 0, "rows": rows, "stride": rows // 2, "n_step": 1},
    }


PROBES: dict[str, ProbeEntry] = {
    "Memory/Recall-v0": ProbeEntry(RecallEnv, "Recall a cue at the episode's end."),
    "Memory/Pairs-v0": ProbeEntry(
        PairsEnv, "See keys with their values, then give the value of every key.", many_questions(rows=16)
    ),
    "Memory/Repeat-v0": ProbeEntry(
        RepeatEnv, "Name the symbol that was shown some symbols ago.", many_questions(rows=40)
    ),
}

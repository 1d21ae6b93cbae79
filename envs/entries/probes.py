"""Probes, in which nothing drifts: what each asks for, and settings that suit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    env: Callable[..., gym.Env]
    summary: str


PROBES: dict[str, ProbeEntry] = {
    "Memory/Recall-v0": ProbeEntry(RecallEnv, "Recall a cue at the episode's end."),
    "Memory/Pairs-v0": ProbeEntry(PairsEnv, "See keys with their values, then give the value of every key."),
    "Memory/Repeat-v0": ProbeEntry(RepeatEnv, "Name the symbol that was shown some symbols ago."),
}

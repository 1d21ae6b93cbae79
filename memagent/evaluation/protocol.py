"""Playing: contexts held still, and the drifting stream, by any player in any vector environment.

Every score is paired: the agent plays the same contexts from the same seeds with a fitted context vector and without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from tqdm.auto import tqdm


class Player(Protocol):
    """Acts in E environments at once."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions [E, ...] for observations [E, O]."""

    def observe(
        self, action: np.ndarray, reward: np.ndarray, done: np.ndarray, infos: Sequence[Mapping[str, Any]]
    ) -> None:
        """What the environments answered."""


@dataclass(frozen=True)
class Context:
    """One condition of the plant, held still."""

    context_id: int
    split: Literal["train", "held_out"]
    context: Mapping[str, float]


class ContextRecord(TypedDict):
    """The score of one context, adapted or not."""

    context_id: int
    split: str
    context: dict[str, float]
    adapted: bool
    episodes: int
    mean_return: float
    std_return: float
    returns: list[float]
    warmup_returns: list[float]


def play(env: VecEnv, player: Player, episodes: int, progress: tqdm | None = None) -> np.ndarray:
    """Returns [E, episodes] of the first `episodes` episodes of each environment, from a reset on."""
    obs = env.reset()
    returns = np.zeros((env.num_envs, episodes))
    current, count = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
    while (count < episodes).any():
        assert isinstance(obs, np.ndarray)
        action = player.act(obs)
        obs, reward, done, infos = env.step(action)
        player.observe(action, reward, done, infos)
        current += reward
        for e in np.flatnonzero(done & (count < episodes)):
            returns[e, count[e]] = current[e]
            if progress is not None:
                progress.update()
        count += done
        current[done] = 0.0
    return returns


def play_contexts(
    contexts: Sequence[Context],
    make_env: Callable[[Sequence[Context]], VecEnv],
    make_player: Callable[[int, bool], Player],
    episodes: int = 5,
    warmup_episodes: int = 2,
    settings: Sequence[bool] = (False, True),
    progress: bool = False,
) -> list[ContextRecord]:
    """Score every context frozen, from empty memory, without adaptation and with it, from the same seeds.

    Args:
        contexts: C conditions.
        make_env: a vector environment whose c-th environment holds the c-th context, seeded anew at each call.
        make_player: a fresh player of C environments; the flag says whether it adapts.
        episodes: scored episodes of each context.
        warmup_episodes: episodes before them, reported apart, in which adaptation gathers its first transitions.
        settings: whether the agent adapts, in turn.
        progress: show a bar.

    Returns:
        A record of every context for each setting.
    """
    records: list[ContextRecord] = []
    total = len(settings) * len(contexts) * (episodes + warmup_episodes)
    with tqdm(total=total, desc="evaluating", unit="episode", disable=not progress) as bar:
        for adapted in settings:
            env = make_env(contexts)
            try:
                returns = play(env, make_player(len(contexts), adapted), warmup_episodes + episodes, bar)
            finally:
                env.close()
            for context, row in zip(contexts, returns, strict=True):
                scored = row[warmup_episodes:]
                records.append(
                    ContextRecord(
                        context_id=context.context_id,
                        split=context.split,
                        context=dict(context.context),
                        adapted=adapted,
                        episodes=episodes,
                        mean_return=float(scored.mean()),
                        std_return=float(scored.std()),
                        returns=scored.tolist(),
                        warmup_returns=row[:warmup_episodes].tolist(),
                    )
                )
    return records

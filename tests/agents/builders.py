"""Small agents and environments whose answers are known in closed form."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from memagent.agents import (
    AdaptConfig,
    EntropyConfig,
    LearnerConfig,
    MemoryAlgorithm,
    MemoryDQN,
    MemorySAC,
)
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.replay import ReplayConfig

SMALL = {"memory_size": 6, "memory_dim": 5, "num_read_heads": 2, "hidden_size": 16}


class Corridor(gym.Env):
    """Every episode is `length` steps of reward 1 and then truncates (or terminates).

    Observation: the step modulo `shown`, and whether it is the first.
    """

    def __init__(
        self,
        length: int = 4,
        terminates: bool = False,
        phase_every: int = 0,
        shown: int = 1_000_000,
        actions: spaces.Space | None = None,
    ) -> None:
        self.length, self.terminates, self.phase_every, self.shown = length, terminates, phase_every, shown
        self.observation_space = spaces.Box(-1.0, 1000.0, (2,), np.float32)
        self.action_space = spaces.Discrete(3) if actions is None else actions
        self.time, self.total = 0, 0

    def _obs(self) -> np.ndarray:
        return np.array([self.time % self.shown, self.time == 0], np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.time = 0
        return self._obs(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        phase = self.total // self.phase_every if self.phase_every else 0
        self.time, self.total = self.time + 1, self.total + 1
        over = self.time >= self.length
        return self._obs(), 1.0, over and self.terminates, over and not self.terminates, {"phase": phase}


def use_memory(agent: MemoryAlgorithm) -> MemoryAlgorithm:
    """The agent, with features that hang on its memory: where there is a context, they begin without it."""
    torch.manual_seed(1)
    torch.nn.init.xavier_uniform_(agent.policy.features_extractor.project.weight)
    return agent


def build(
    env: Any, *, kind: str = "dnc", seed: int = 0, width: int = 12, device: str = "cpu", **changes: Any
) -> MemoryAlgorithm:
    """The agent for the action space, small enough for a test: features and heads `width` wide.

    `changes` are fields of its configs.
    """
    learner = {"learning_starts": 64, "steps_per_update": 16, "batch_size": 8}
    replay = {"capacity": 4096, "burn_in": 2, "rows": 10, "stride": 4, "n_step": 2}
    adapt = {"context_dim": 3, "steps_ahead": 3, "train_support": 6, "support": 8, "young": 4}

    def pick(cls: type, base: dict[str, Any]) -> Any:
        fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
        return cls(**base | {k: v for k, v in changes.items() if k in fields})

    continuous = isinstance(env.action_space, spaces.Box)
    own = {"entropy": pick(EntropyConfig, {})} if continuous else {}
    return (MemorySAC if continuous else MemoryDQN)(
        "MemoryPolicy",
        env,
        memory=pick(MemoryConfig, SMALL | {"kind": kind}),
        learner=pick(LearnerConfig, learner),
        replay=pick(ReplayConfig, replay),
        adapt=pick(AdaptConfig, adapt),
        meta=pick(MetaConfig, {}),
        policy_kwargs={"features_dim": width, "head_size": width - 2},
        seed=seed,
        device=device,
        **own,
    )

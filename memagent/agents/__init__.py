"""Agents on Stable-Baselines3's off-policy base."""

from memagent.agents.acting import Acting
from memagent.agents.base import MemoryAlgorithm
from memagent.agents.config import LearnerConfig
from memagent.agents.dqn import ExplorationConfig, MemoryDQN
from memagent.agents.sac import EntropyConfig, MemorySAC
from memagent.context import AdaptConfig

__all__ = [
    "Acting",
    "AdaptConfig",
    "EntropyConfig",
    "ExplorationConfig",
    "LearnerConfig",
    "MemoryAlgorithm",
    "MemoryDQN",
    "MemorySAC",
]

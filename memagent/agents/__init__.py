"""Agents on Stable-Baselines3's off-policy base."""

from memagent.agents.acting import Acting, AdaptConfig
from memagent.agents.dqn import ExplorationConfig, MemoryDQN
from memagent.agents.learning import LearnerConfig

__all__ = ["Acting", "AdaptConfig", "ExplorationConfig", "LearnerConfig", "MemoryDQN"]

"""Agents on Stable-Baselines3's off-policy base."""

from memagent.agents.acting import Acting, AdaptConfig
from memagent.agents.base import LearnerConfig
from memagent.agents.dqn import ExplorationConfig, MemoryDQN

__all__ = ["Acting", "AdaptConfig", "ExplorationConfig", "LearnerConfig", "MemoryDQN"]

"""memagent: agents that remember and adapt, for control tasks that drift."""

from memagent.agents import AdaptConfig, ExplorationConfig, LearnerConfig, MemoryDQN
from memagent.extractor import MemoryExtractor
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig, MetaLearner
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig

__all__ = [
    "AdaptConfig",
    "ExplorationConfig",
    "LearnerConfig",
    "MemoryConfig",
    "MemoryDQN",
    "MemoryExtractor",
    "MetaConfig",
    "MetaLearner",
    "PrioritizedSequenceBuffer",
    "ReplayConfig",
]

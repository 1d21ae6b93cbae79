"""memagent: agents that remember and adapt, for control tasks that drift."""

from memagent.agents import AdaptConfig, EntropyConfig, ExplorationConfig, LearnerConfig, MemoryDQN, MemorySAC
from memagent.extractor import MemoryExtractor
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig, MetaLearner
from memagent.presets import preset
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig

__all__ = [
    "AdaptConfig",
    "EntropyConfig",
    "ExplorationConfig",
    "LearnerConfig",
    "MemoryConfig",
    "MemoryDQN",
    "MemoryExtractor",
    "MemorySAC",
    "MetaConfig",
    "MetaLearner",
    "PrioritizedSequenceBuffer",
    "ReplayConfig",
    "preset",
]

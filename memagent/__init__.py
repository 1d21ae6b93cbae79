"""memagent: agents that remember and adapt, for control tasks that drift."""

import os
import sys

# After each of its operations PyTorch's threads spin, for some ten milliseconds, in case there is another: the memory's
# own threads want these cores. GNU OpenMP reads this once, when torch is loaded.
if "torch" not in sys.modules:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


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

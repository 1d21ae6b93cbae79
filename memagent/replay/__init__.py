"""Prioritised sequence replay: numbers (sum_tree), who is drawn (priorities, support), what is stored (streams,
stretches), and what is handed out (batches, sequences).
"""

from memagent.replay.batches import SequenceBatch, SupportRows
from memagent.replay.sequences import PrioritizedSequenceBuffer, ReplayConfig

__all__ = ["PrioritizedSequenceBuffer", "ReplayConfig", "SequenceBatch", "SupportRows"]

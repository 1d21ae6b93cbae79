"""Prioritised sequence replay: numbers (sum_tree), who is drawn (priorities), what is stored (streams), windows."""

from memagent.replay.sequences import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch, same_phase

__all__ = ["PrioritizedSequenceBuffer", "ReplayConfig", "SequenceBatch", "same_phase"]

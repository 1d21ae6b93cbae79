"""A learner as files describe it: by its settings, and by what training goes on with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces

from memagent.agents.acting import Acting, Held
from memagent.agents.learning import SequenceLearner
from memagent.policies import MemoryPolicy
from memagent.replay import PrioritizedSequenceBuffer


class DescribedLearner(SequenceLearner, ABC):
    """A learner that its settings and spaces make anew, and that goes on from what it carried."""

    configs: ClassVar[dict[str, tuple[str, type]]]
    """The constructor's settings by name: the attribute that keeps each, and its dataclass."""
    words: ClassVar[frozenset[str]]
    """SB3's, that the constructor takes beside them."""
    acting: Acting
    held: Held
    steps_since_update: int  # of each environment; above 0 where learning was stopped between two updates
    _episodes: np.ndarray  # [E], episodes that each environment has ended

    @classmethod
    @abstractmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        """ValueError for an action or observation space that the agent cannot take."""

    def begins_anew(self, asked: Mapping[str, Any], saved: Mapping[str, Any]) -> Collection[str]:
        """The weights that settings asked of `load` set, in place of the file's; `saved` are the file's configs."""
        return ()

    @abstractmethod
    def make_policy(self) -> MemoryPolicy:
        """An untrained policy for the agent's spaces, by its settings."""

    @abstractmethod
    def make_replay(self) -> PrioritizedSequenceBuffer:
        """An empty replay for the agent's spaces, by its settings."""

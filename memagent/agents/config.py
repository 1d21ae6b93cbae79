"""How every agent learns: one frozen dataclass, and SB3's names for some of its fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_type_hints

from stable_baselines3.common.utils import LinearSchedule

from memagent.agents.acting import MemoryScope
from memagent.settings import value_of


@dataclass(frozen=True)
class LearnerConfig:
    """The learner that is the same for every action space and every memory."""

    learning_rate: float = 1e-3
    """Adam's rate for memory and heads."""
    final_learning_rate: float | None = None
    """What that rate is at the end of training; it changes linearly. None: it stays."""
    batch_size: int = 32
    """Windows in an update."""
    steps_per_update: float = 64
    """Environment steps, over all environments, from one update to the next, on average. SB3's train_freq and
    gradient_steps say the same of a number of environments."""
    learning_starts: int = 2_000
    """Environment steps, over all environments, with random actions before the first update."""
    exploration_steps: float = 1.0
    """Steps for which what is tried at random is kept, on average: random actions before the first update, and what
    MemorySAC's actions are sampled with. Where only a long push gets anywhere, as in MountainCar, some 10."""
    gamma: float = 0.98
    """Discount of a step."""
    tau: float = 0.01
    """Share of the online heads that moves into the target heads at every update."""
    max_grad_norm: float = 1.0
    """Largest L2 norm of the gradient of an update."""
    max_skips: int = 10
    """Updates in a row that may be skipped because their loss or gradient is infinite or NaN; one more is an error."""
    reward_scale: float = 0.1
    """Factor on rewards before they are learned from; values of order one train best. Logs show native rewards."""
    prediction_weight: float = 1.0
    """Weight of the prediction loss: the mean change of the observation and the mean reward of the next steps."""
    prediction_steps: int = 1
    """How many steps the prediction looks ahead, told the actions: what they do adds up over steps, and the noise of
    sensors does not. Less than the rows of a window after its burn-in."""
    refresh_every: int | None = None
    """Updates from one pass over the replay to the next, in which the present network computes all stored memory states
    anew. What a DNC has written stays, however old the network that wrote it, and no burn-in washes it out. None:
    states stay as they were while acting."""
    memory_scope: MemoryScope = "episode"
    """How long memory lives: an episode, a phase or the lifetime. A change that an adapting agent is told of empties
    it too. `predict` knows of episodes alone, and empties the memory where it is told that one starts."""

    def __post_init__(self) -> None:
        # 16 and 16.0 are the same setting, and are written alike.
        object.__setattr__(self, "steps_per_update", float(self.steps_per_update))
        for name in ("learning_rate", "batch_size", "steps_per_update", "max_grad_norm", "reward_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"LearnerConfig got {name}={getattr(self, name)}; give a number above 0.")
        if not self.exploration_steps >= 1.0:
            raise ValueError(f"LearnerConfig got exploration_steps={self.exploration_steps}; give 1 or more.")
        for name in ("prediction_steps", "refresh_every"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise ValueError(f"LearnerConfig got {name}={given}; give a whole number, 1 or more.")
        if self.max_skips < 0:
            raise ValueError(f"LearnerConfig got max_skips={self.max_skips}; give a whole number, 0 or more.")
        if self.final_learning_rate is not None and not self.final_learning_rate >= 0.0:
            raise ValueError(
                f"LearnerConfig got final_learning_rate={self.final_learning_rate}; give 0 or more, or None."
            )
        for name in ("gamma", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"LearnerConfig got {name}={getattr(self, name)}; give a number from 0 to 1."
                )

    def rate_schedule(self) -> LinearSchedule:
        """SB3's schedule of the learning rate: of the share of training that is left, from 1 to 0."""
        final = self.learning_rate if self.final_learning_rate is None else self.final_learning_rate
        return LinearSchedule(self.learning_rate, final, 1.0)


class LearnerSetting:
    """An agent's attribute under SB3's name: the field of that name in its `learner`, for reading and for changing.

    What is written counts from the next step or update on, and is saved; a value that the field cannot have is a
    ValueError.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, agent: Any, owner: type | None = None) -> Any:
        return self if agent is None else getattr(agent.learner, self.name)

    def __set__(self, agent: Any, value: Any) -> None:
        checked = value_of(self.name, get_type_hints(LearnerConfig)[self.name], value)
        agent.learner = replace(agent.learner, **{self.name: checked})

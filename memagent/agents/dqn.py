"""MemoryDQN: double Q-learning with a memory, for discrete actions that drift in meaning."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import LinearSchedule
from torch import Tensor

from memagent.agents.base import MemoryAlgorithm
from memagent.agents.rows import HeadRows
from memagent.policies import MemoryQPolicy
from memagent.settings import as_config, checked
from memagent.targets import double_q_value, taken_value, td_errors, td_loss


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon-greedy actions in training."""

    initial: float = 1.0
    """Share of random actions at the start."""
    final: float = 0.02
    """Share of random actions after the fraction."""
    fraction: float = 0.15
    """Part of the training over which the share falls, linearly; 0: it is the final one from the first step on."""

    def __post_init__(self) -> None:
        for name in ("initial", "final", "fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"ExplorationConfig got {name}={getattr(self, name)}; give a number from 0 to 1."
                )


class MemoryDQN(MemoryAlgorithm):
    """Double Q-learning (van Hasselt et al. 2016) with dueling heads (Wang et al. 2016) on a memory's features.

    The environment is Gymnasium's or SB3's, with `Discrete` actions:

        agent = MemoryDQN("MemoryPolicy", make_vec("Drift/CartPole-v0", num_envs=16, seed=0), seed=0)
        agent.learn(100_000, progress_bar=True)

    Args:
        policy: "MemoryPolicy" or a subclass of `MemoryQPolicy`.
        env: anything SB3 takes.
        exploration: epsilon-greedy actions in training.
        exploration_initial_eps, exploration_final_eps, exploration_fraction: SB3's words for its fields, in place of
            them.
        kwargs: as in `MemoryAlgorithm`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MemoryPolicy": MemoryQPolicy}
    supported_actions = (spaces.Discrete,)
    advice = (
        "it learns Discrete actions: take MemorySAC for a Box, envs.FlatActions (envs.make_vec does) for at most 1,024 "
        "combinations of a MultiDiscrete or MultiBinary, or make them Discrete with a gymnasium.ActionWrapper."
    )

    configs = MemoryAlgorithm.configs | {"exploration": ("exploration", ExplorationConfig)}
    words = MemoryAlgorithm.words | {
        "exploration_initial_eps",
        "exploration_final_eps",
        "exploration_fraction",
    }

    policy: MemoryQPolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        *,
        exploration: ExplorationConfig | None = None,
        exploration_initial_eps: float | None = None,
        exploration_final_eps: float | None = None,
        exploration_fraction: float | None = None,
        **kwargs: Any,
    ) -> None:
        of_sb3 = {
            "initial": exploration_initial_eps,
            "final": exploration_final_eps,
            "fraction": exploration_fraction,
        }
        changes = {name: value for name, value in of_sb3.items() if value is not None}
        self.exploration = checked(
            replace(as_config("exploration", ExplorationConfig, exploration), **changes)
        )
        super().__init__(policy, env, **kwargs)

    @property
    def exploration_rate(self) -> float:
        """The share of random actions at this point of the training."""
        initial, final, fraction = astuple(self.exploration)
        if not fraction:  # SB3's schedule divides by it
            return final
        return LinearSchedule(initial, final, fraction)(self._current_progress_remaining)

    @exploration_rate.setter
    def exploration_rate(self, rate: float) -> None:
        raise AttributeError(
            f"exploration_rate was set to {rate}, and follows from the agent's `exploration`; set that to an "
            "ExplorationConfig. Random exploration belongs to learn: predict has none."
        )

    def head_output(self, features: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The values of all actions, [..., D] -> [..., A]."""
        return (self.policy.heads(features),)

    def bootstrap_values(self, features: Tensor, output: tuple[Tensor, ...]) -> Tensor:
        """The target heads' value of the online heads' best action, [..., D] -> [...]."""
        (q,) = output
        return double_q_value(q, self.policy.target_heads(features))

    def head_losses(self, rows: HeadRows) -> tuple[Tensor, Tensor]:
        """Huber loss of the taken action's value against the target."""
        (q,) = rows.output
        td = td_errors(taken_value(q, rows.action), rows.target)
        return td_loss(td, huber_delta=1.0), td.abs()

    def explore(self, features: Tensor) -> np.ndarray:
        """Each environment takes a random action with probability epsilon."""
        assert isinstance(self.action_space, spaces.Discrete)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)
        greedy = self.policy.actions(features)
        chance = self.generator.random(len(greedy)) < self.exploration_rate
        drawn = self.action_space.start + self.generator.integers(self.action_space.n, size=len(greedy))
        return np.where(chance, drawn, greedy).astype(self.action_space.dtype)

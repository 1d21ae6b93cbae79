"""MemorySAC: soft actor-critic with a memory, for continuous actions that drift in meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from memagent.agents.base import MemoryAlgorithm
from memagent.agents.rows import HeadRows
from memagent.policies import MemoryActorCriticPolicy
from memagent.settings import as_config, checked
from memagent.targets import soft_value, squashed_sample, td_errors, td_loss, temperature_loss


@dataclass(frozen=True)
class EntropyConfig:
    """How random MemorySAC's actions are in training."""

    target: float | None = None
    """Entropy of the actions, in nats with actions in [-1, 1], that the temperature is steered to. None: minus the
    number of actions (Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications, appendix D)."""
    temperature: float = 0.1
    """What a nat of entropy is worth at first, in units of the scaled reward."""
    learning_rate: float = 1e-3
    """Adam's rate for the logarithm of the temperature; 0: the temperature stays."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"EntropyConfig got temperature={self.temperature}; give a number above 0.")
        if not self.learning_rate >= 0:
            raise ValueError(f"EntropyConfig got learning_rate={self.learning_rate}; give 0 or more.")


def in_sb3_words(
    entropy: EntropyConfig, ent_coef: float | str | None, target_entropy: float | Literal["auto"] | None
) -> EntropyConfig:
    """The config with what SB3's words say in place of its fields; None: they say nothing.

    Raises:
        ValueError: `ent_coef` is no number, "auto" or "auto_" with a number behind it.
    """
    if target_entropy is not None:
        entropy = replace(entropy, target=None if target_entropy == "auto" else float(target_entropy))
    if isinstance(ent_coef, str):
        if ent_coef == "auto":
            return entropy
        try:
            temperature = float(ent_coef.removeprefix("auto_"))
        except ValueError as error:
            raise ValueError(
                f'ent_coef is {ent_coef!r}; give a number, "auto", or "auto_0.1" to begin with 0.1.'
            ) from error
        if ent_coef.startswith("auto"):
            return replace(entropy, temperature=temperature)
        ent_coef = temperature
    return entropy if ent_coef is None else replace(entropy, temperature=float(ent_coef), learning_rate=0.0)


class MemorySAC(MemoryAlgorithm):
    """Soft actor-critic (Haarnoja et al. 2018) with twin critics (Fujimoto et al. 2018) on a memory's features.

    The critics and the prediction train the memory; the actor learns on its features as they are. The environment is
    Gymnasium's or SB3's, with actions in a bounded `Box`, which the heads see rescaled to [-1, 1]:

        agent = MemorySAC("MemoryPolicy", make_vec("Drift/Pendulum-v0", num_envs=16, seed=0), seed=0)
        agent.learn(40_000, progress_bar=True)

    Args:
        policy: "MemoryPolicy" or a subclass of `MemoryActorCriticPolicy`.
        env: anything SB3 takes.
        entropy: how random actions are in training.
        ent_coef, target_entropy: SB3's words for its fields, in place of them: a number, "auto" or "auto_0.1".
        kwargs: as in `MemoryAlgorithm`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MemoryPolicy": MemoryActorCriticPolicy}
    supported_actions = (spaces.Box,)
    advice = (
        "it learns continuous actions in a Box: take MemoryDQN, which learns Discrete ones, or make a Box of them with "
        "a gymnasium.ActionWrapper."
    )

    configs = MemoryAlgorithm.configs | {"entropy": ("entropy", EntropyConfig)}
    words = MemoryAlgorithm.words | {"ent_coef", "target_entropy"}

    policy: MemoryActorCriticPolicy

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        *,
        entropy: EntropyConfig | None = None,
        ent_coef: float | str | None = None,
        target_entropy: float | Literal["auto"] | None = None,
        **kwargs: Any,
    ) -> None:
        self.entropy = checked(
            in_sb3_words(as_config("entropy", EntropyConfig, entropy), ent_coef, target_entropy)
        )
        super().__init__(policy, env, **kwargs)

    @classmethod
    def check_spaces(cls, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        super().check_spaces(observation_space, action_space)
        assert isinstance(action_space, spaces.Box)
        reach = action_space.high.astype(np.float64) - action_space.low
        if not (np.isfinite(reach) & (reach > 0)).all():
            raise ValueError(
                f"MemorySAC was given the action space {action_space}; expected finite bounds, low below high: wrap "
                "the environment in a gymnasium.wrappers.TransformAction that has them."
            )

    def policy_settings(self) -> dict[str, Any]:
        return {"temperature": self.entropy.temperature, "temperature_rate": self.entropy.learning_rate}

    def begins_anew(self, asked: Mapping[str, Any], saved: Mapping[str, Any]) -> Collection[str]:
        """The temperature, where a fixed one is asked for, or one that begins elsewhere than the file's did."""
        first = saved.get("entropy", {}).get("temperature")
        own = not self.entropy.learning_rate or self.entropy.temperature != first
        return ("log_temperature",) if own and {"entropy", "ent_coef"} & asked.keys() else ()

    @property
    def target_entropy(self) -> float:
        """Nats that the temperature steers the entropy of the actions to."""
        return (
            -float(spaces.flatdim(self.action_space)) if self.entropy.target is None else self.entropy.target
        )

    def head_output(self, features: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """The actor's sampled actions and their log-densities, [..., D] -> [..., A] and [...].

        The actor learns on the features as they are.
        """
        mean, log_std = self.policy.heads.actor(features.detach())
        return squashed_sample(mean, log_std, noise)

    def bootstrap_values(self, features: Tensor, output: tuple[Tensor, ...]) -> Tensor:
        """The target critics' soft value of the actor's sampled action, [..., D] -> [...]."""
        action, log_prob = output
        q = self.policy.target_heads.critics(features, action)
        return soft_value(q, log_prob, self.policy.log_temperature.exp())

    def head_losses(self, rows: HeadRows) -> tuple[Tensor, Tensor]:
        """Squared error of both critics, the actor's loss and the temperature's; the mean |TD error| of the critics.

        The actor's loss reaches neither the features nor the critics, the temperature's the temperature alone.
        """
        policy, taken = self.policy, rows.action.reshape(*rows.target.shape, -1)
        td = td_errors(policy.heads.critics(rows.features, taken), rows.target.unsqueeze(-1))
        action, log_prob = rows.output
        value = soft_value(
            policy.still_critics(rows.features.detach(), action),
            log_prob,
            policy.log_temperature.exp().detach(),
        )
        entropy = temperature_loss(policy.log_temperature, log_prob, self.target_entropy)
        return td_loss(td).sum(-1) - value + entropy, td.abs().mean(-1)

    def explore(self, features: Tensor) -> np.ndarray:
        """Each environment's actor draws its action."""
        self.logger.record("rollout/temperature", self.policy.log_temperature.exp().item())
        drawn = self.policy.draw_noise(self.generator, features.shape[:1]).cpu().numpy()
        noise = self.held("noise", drawn, self.learner.exploration_steps, self.generator)
        return self.policy.actions(features, torch.from_numpy(noise).to(self.device))

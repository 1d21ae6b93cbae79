"""The learner: one training step for every action space and every memory.

    windows -> burn-in -> features, once -> targets from the target heads on the same features
            -> TD loss + prediction loss + meta loss -> one Adam step -> target heads -> new priorities

A subclass says what its heads are worth: `bootstrap_values` and `head_losses`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import polyak_update
from torch import Tensor
from torch.nn import functional

from memagent.agents.acting import AdaptConfig, MemoryScope, Support
from memagent.agents.rows import HeadRows, Windows, as_state
from memagent.policies import HeadParams, MemoryPolicy
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch, same_phase
from memagent.targets import (
    beta_schedule,
    masked_mean,
    n_step_targets,
    prediction_loss,
    sequence_priorities,
)


@dataclass(frozen=True)
class LearnerConfig:
    """The learner that is the same for every action space and every memory."""

    learning_rate: float = 1e-3
    """Adam's rate for memory and heads."""
    final_learning_rate: float | None = None
    """Where that rate has fallen to, linearly, at the end of training. None: it stays."""
    batch_size: int = 32
    """Windows in an update."""
    steps_per_update: int = 64
    """Environment steps, over all environments, from one update to the next."""
    learning_starts: int = 2_000
    """Environment steps, over all environments, with random actions before the first update."""
    gamma: float = 0.98
    """Discount of a step."""
    tau: float = 0.01
    """Share of the online heads that moves into the target heads at every update."""
    max_grad_norm: float = 1.0
    """Largest L2 norm of the gradient of an update."""
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
    """How long memory lives: an episode, a phase or the lifetime."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "steps_per_update", "max_grad_norm", "reward_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"LearnerConfig got {name}={getattr(self, name)}; give a number above 0.")
        for name in ("prediction_steps", "refresh_every"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise ValueError(f"LearnerConfig got {name}={given}; give a whole number, 1 or more.")
        if self.final_learning_rate is not None and not 0.0 < self.final_learning_rate <= self.learning_rate:
            raise ValueError(
                f"LearnerConfig got final_learning_rate={self.final_learning_rate}; give a number above 0 and at most "
                f"learning_rate={self.learning_rate}, or None."
            )
        for name in ("gamma", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"LearnerConfig got {name}={getattr(self, name)}; give a number from 0 to 1."
                )


class SequenceLearner(OffPolicyAlgorithm, ABC):
    """Learns from windows of a prioritised sequence replay; how they get there is `MemoryAlgorithm`'s."""

    policy: MemoryPolicy
    replay_buffer: PrioritizedSequenceBuffer  # type: ignore[assignment]  # SB3's base expects its own buffer class
    learner: LearnerConfig
    replay_config: ReplayConfig
    adapt_config: AdaptConfig
    transition_layout: dict[str, tuple[int, int]] | None
    generator: np.random.Generator

    @abstractmethod
    def bootstrap_values(self, features: Tensor, noise: Tensor) -> Tensor:
        """Values [T, B] of features [T, B, D] by the target heads; `noise` [T, B, K] samples actions."""

    @abstractmethod
    def head_losses(self, params: Mapping[str, Tensor], rows: HeadRows) -> tuple[Tensor, Tensor]:
        """The loss of every row under the given head parameters, and its |TD error|; both [...] like `rows.target`.

        Every loss that the heads have is in it, so that what trains them is what adapts them. Only parameters and
        features may carry gradient; the function is vmapped over tasks.
        """

    def head_rows(
        self,
        features: Tensor,
        action: Tensor,
        reward: Tensor,
        final: Tensor,
        terminal: Tensor,
        generator: np.random.Generator | None = None,
    ) -> HeadRows:
        """Rows [T + n, B] with n-step targets from the target heads on the same features -> [T, B].

        `generator` draws what actions are sampled with; None: the same draws at every call.
        """
        n = self.replay_config.n_step
        generator = np.random.default_rng(0) if generator is None else generator
        noise = self.policy.draw_noise(generator, reward.shape)
        with torch.no_grad():
            value = self.bootstrap_values(features, noise)
        target = n_step_targets(reward, value, final, terminal, self.learner.gamma, n)
        t = len(target)
        return HeadRows(features[:t], action[:t], target, ~final[:t], noise[:t])

    def head_loss(self, params: Mapping[str, Tensor], rows: HeadRows) -> Tensor:
        """The heads' mean loss over the rows that count: what the inner loop descends."""
        losses, _ = self.head_losses(params, rows)
        return masked_mean(losses, rows.mask)

    def fit_heads(self, support: Support) -> HeadParams:
        """Heads fitted to each environment's support rows, from the meta-parameters; no gradient is kept."""
        with torch.no_grad():
            rows = self.head_rows(*support[:5])
            rows = rows._replace(mask=rows.mask & support.valid[: len(rows.mask)])
            return self.policy.meta.adapt(self.policy.head_params(), self.head_loss, rows.tasks())

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """`gradient_steps` updates of `batch_size` windows each."""
        if len(self.replay_buffer) == 0:
            return
        self.policy.set_training_mode(True)
        rate = self.lr_schedule(self._current_progress_remaining)
        self.policy.optimizer.param_groups[0]["lr"] = rate  # the inner rates' own rate stays
        beta = beta_schedule(1.0 - self._current_progress_remaining, self.replay_config.beta)
        logs: dict[str, float] = {}
        for _ in range(gradient_steps):
            if self.learner.refresh_every and self._n_updates % self.learner.refresh_every == 0:
                self.refresh_states()
            batch = self.replay_buffer.sample(batch_size, beta)
            logs |= self._update(batch)
            self._n_updates += 1
        for name, value in logs.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/learning_rate", rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("replay/beta", beta)
        self.logger.record("replay/windows", len(self.replay_buffer))
        self.logger.record("replay/transitions", self.replay_buffer.num_transitions)

    def refresh_states(self) -> None:
        """Compute the memory states that the replay holds anew, as the present network would have left them."""
        empty = self.policy.initial_state(1)
        if not empty:
            return

        def advance(
            obs: np.ndarray, memory_start: np.ndarray, state: Sequence[ArrayLike]
        ) -> list[np.ndarray]:
            x, start = (torch.from_numpy(rows).to(self.device) for rows in (obs, memory_start))
            with torch.no_grad():
                _, after = self.policy.unroll(x, start, as_state(state, empty, self.device))
            return [part.cpu().numpy() for part in after]

        self.replay_buffer.refresh(advance)

    def _update(self, batch: SequenceBatch) -> dict[str, float]:
        """One Adam step on TD, prediction and meta loss; new target heads and priorities."""
        policy, weights = self.policy, torch.from_numpy(batch.weights).to(self.device)
        features, x = self.features(batch)
        rows = self.head_rows(features, x.action, x.reward, x.final, x.terminal, self.generator)
        losses, td = self.head_losses(policy.head_params(), rows)
        heads = masked_mean(weights * losses, rows.mask)
        prediction = self._prediction_loss(features, x)
        loss = heads + self.learner.prediction_weight * prediction
        meta_logs = {}
        if self.adapt_config.enabled and self._n_updates % self.adapt_config.meta_every == 0:
            meta, gain = self._meta_loss(rows, x)
            loss = loss + self.adapt_config.meta_weight * meta
            meta_logs = {"meta_loss": meta.item(), "adaptation_gain": gain}
        policy.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.online_parameters(), self.learner.max_grad_norm)
        policy.optimizer.step()
        polyak_update(policy.heads.parameters(), policy.target_heads.parameters(), self.learner.tau)
        priorities = sequence_priorities(td.detach(), rows.mask, self.replay_config.eta)
        self.replay_buffer.update_priorities(batch, priorities.cpu().numpy())
        return {
            "loss": loss.item(),
            "head_loss": heads.item(),
            "td_error": masked_mean(td, rows.mask).item(),
            "prediction_loss": prediction.item(),
            "inner_rate": torch.cat([r.flatten() for r in policy.meta.parameters()]).mean().exp().item(),
            "grad_norm": norm.item(),
            "target_mean": masked_mean(rows.target, rows.mask).item(),
            "priority_mean": priorities.mean().item(),
            **meta_logs,
        }

    def features(self, batch: SequenceBatch) -> tuple[Tensor, Windows]:
        """Burn-in without gradient from the stored state, then one unroll with gradient.

        Returns:
            Features [support + query + n, B, D], and the windows' rows that they are of.
        """
        windows = Windows.of(batch, self.device)
        b = self.replay_config.burn_in
        state = as_state(batch.state, self.policy.initial_state(1), self.device)
        if b:
            with torch.no_grad():
                _, state = self.policy.unroll(windows.obs[:b], windows.memory_start[:b], state)
        rows = windows.rows(b)
        features, _ = self.policy.unroll(rows.obs, rows.memory_start, state)
        return features, rows

    def _prediction_loss(self, features: Tensor, x: Windows) -> Tensor:
        """Squared error of the predicted mean change of the observation and mean reward over the next k steps.

        Rows count whose next k steps are of their episode.
        """
        k = self.learner.prediction_steps
        t = len(x.reward) - max(k, self.replay_config.n_step)
        if self.transition_layout is None:
            change = x.obs[1:] - x.obs[:-1]
        else:  # the next observation holds its own change, scaled to order one
            change = x.obs[1:, :, slice(*self.transition_layout["change"])]
        action = x.action
        if isinstance(self.action_space, spaces.Discrete):
            action = functional.one_hot(action, int(self.action_space.n)).float()
        outcome = torch.cat((change, x.reward[:-1, :, None]), -1)
        ahead = [slice(i, i + t) for i in range(k)]
        outcome = torch.stack([outcome[rows] for rows in ahead]).mean(0)  # [T, B, C + 1]
        actions = torch.cat([action[rows].flatten(2) for rows in ahead], -1)  # [T, B, k A]
        mask = ~torch.stack([x.final[rows] for rows in ahead]).any(0)
        return prediction_loss(self.policy.prediction(features[:t], actions), outcome, mask, x.weights)

    def _meta_loss(self, rows: HeadRows, x: Windows) -> tuple[Tensor, float]:
        """Loss on the query of heads adapted on the support, over windows of one phase; and what adapting gained.

        Under `phase_signal="none"` nobody tells phases apart, so every window counts.
        """
        c = self.replay_config
        support, query = rows.rows(0, c.support).tasks(), rows.rows(c.support).tasks()
        valid = query.mask.any(1) & support.mask.any(1)
        if self.adapt_config.phase_signal == "info":
            valid &= same_phase(x.phase, 0, c.support, c.query)
        params = self.policy.head_params()
        adapted = self.policy.meta.adapt(params, self.head_loss, support)
        after = torch.func.vmap(self.head_loss)(adapted, query)
        with torch.no_grad():
            before = torch.func.vmap(self.head_loss, in_dims=(None, 0))(params, query)
            gain = masked_mean(before - after, valid).item()
        return masked_mean(x.weights * after, valid), gain

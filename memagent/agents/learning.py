"""The learner: one training step for every action space and every memory.

    windows, and for each a support of its phase -> context by the inner loop (memagent.context)
            -> burn-in -> features, once -> targets from the target heads on the same features
            -> TD loss + prediction loss + the dynamics model's loss -> one Adam step -> target heads -> new priorities

A subclass says what its heads are worth: `bootstrap_values` and `head_losses`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import Tensor

from memagent.agents.config import LearnerConfig
from memagent.agents.finite import NonFiniteError
from memagent.agents.rows import HeadRows, Windows, as_state
from memagent.context import AdaptConfig
from memagent.dynamics import Outcomes, runs
from memagent.policies import MemoryPolicy
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch
from memagent.targets import (
    beta_schedule,
    masked_mean,
    n_step_targets,
    prediction_loss,
    sequence_priorities,
)

OLDEST = 512
"""Runs of the oldest phase that a context is fitted for in training."""


class Adaptation(NamedTuple):
    """What the inner loop gave for a batch of windows."""

    context: Tensor  # [L, B, Z], without gradient; 0 in rows of another phase than the one it is fitted to
    loss: Tensor  # [], the model's on other runs of the phase, under the fitted contexts
    unadapted: Tensor  # [], the same under zero contexts, where it was asked for
    detector_loss: Tensor  # [], of single steps under these contexts


class DrawnRuns(NamedTuple):
    """Runs from stretches of the replay, S at most of each of K."""

    runs: Outcomes  # [K, S, ...], of k steps
    steps: Outcomes  # [K, S, ...], the last step of each
    start: np.ndarray  # [K, S], the row of the stream that each begins with

    def of(self, tasks: slice) -> DrawnRuns:
        """Those of some tasks."""
        runs, steps = (Outcomes(*(x[tasks] for x in rows)) for rows in (self.runs, self.steps))
        return DrawnRuns(runs, steps, self.start[tasks])

    def apart_from(self, others: DrawnRuns) -> DrawnRuns:
        """Those count that are not among the `others` that count."""
        theirs = np.where(others.runs.mask.cpu().numpy(), others.start, -1)
        apart = (self.start[:, :, None] != theirs[:, None, :]).all(-1)
        mask = self.runs.mask & torch.from_numpy(apart).to(self.runs.mask.device)
        return DrawnRuns(self.runs._replace(mask=mask), self.steps._replace(mask=mask), self.start)


class SequenceLearner(OffPolicyAlgorithm, ABC):
    """Learns from windows of a prioritised sequence replay; how they get there is `MemoryAlgorithm`'s."""

    policy: MemoryPolicy
    replay_buffer: PrioritizedSequenceBuffer  # type: ignore[assignment]  # SB3's base expects its own buffer class
    learner: LearnerConfig
    replay_config: ReplayConfig
    adapt_config: AdaptConfig
    transition_layout: dict[str, tuple[int, int]] | None
    generator: np.random.Generator
    skipped_updates: int
    skipped_in_a_row: int

    @abstractmethod
    def head_output(self, features: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """What the online heads make of features [T, B, D]; `noise` [T, B, K] samples actions. Parts [T, B, ...]."""

    @abstractmethod
    def bootstrap_values(self, features: Tensor, output: tuple[Tensor, ...]) -> Tensor:
        """Values [T, B] of features [T, B, D] by the target heads, given the online heads' output."""

    @abstractmethod
    def head_losses(self, rows: HeadRows) -> tuple[Tensor, Tensor]:
        """The loss of every row, all losses that the heads have, and its |TD error|; both [T, B]."""

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """`gradient_steps` updates of `batch_size` windows each.

        Raises:
            NonFiniteError: more updates in a row than `max_skips` had an infinite loss or gradient, or NaN. The weights
                are those of the last update that had not.
        """
        if len(self.replay_buffer) == 0:
            return
        self.policy.set_training_mode(True)
        rate = self.lr_schedule(self._current_progress_remaining)
        self.policy.set_learning_rate(rate)
        beta = beta_schedule(1.0 - self._current_progress_remaining, self.replay_config.beta)
        logs: dict[str, Tensor] = {}
        for left in reversed(range(gradient_steps)):
            if self.learner.refresh_every and self._n_updates % self.learner.refresh_every == 0:
                self.refresh_states()
            made = self._update(self.replay_buffer.sample(batch_size, beta), logged=not left)
            self._count(made is not None)
            logs |= made or {}
        for name, value in logs.items():
            self.logger.record(f"train/{name}", value.item())
        self.logger.record("train/learning_rate", rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/skipped_updates", self.skipped_updates)
        self.logger.record("replay/beta", beta)
        self.logger.record("replay/windows", len(self.replay_buffer))
        self.logger.record("replay/transitions", self.replay_buffer.size())

    def _count(self, made: bool) -> None:
        """Count an update that was made or skipped."""
        if made:
            self._n_updates += 1
            self.skipped_in_a_row = 0
            return
        self.skipped_updates += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > self.learner.max_skips:
            raise NonFiniteError(
                f"{self.skipped_in_a_row} updates in a row had an infinite loss or gradient, or NaN, the last at step "
                f"{self.num_timesteps}; the weights are those of update {self._n_updates}: lower learning_rate or "
                "reward_scale, or bound observations and rewards."
            )

    def refresh_states(self) -> None:
        """Compute the memory states that the replay holds anew, as the present network would have left them."""
        empty = self.policy.initial_state(1)
        held, _ = self.replay_buffer.stretches()
        if not empty or not held.size:  # no memory, or no row since the last seam
            return
        context, row_of = self._held_contexts()

        def advance(
            envs: np.ndarray, rows: Mapping[str, np.ndarray], state: Sequence[ArrayLike]
        ) -> list[np.ndarray]:
            seen = (self._seen(rows["obs"]), rows["memory_start"])
            x, start = (torch.from_numpy(part).to(self.device) for part in seen)
            told = context[torch.as_tensor(row_of[envs] + rows["stretch"], device=self.device)]
            with torch.no_grad():
                _, after = self.policy.unroll(x, told, start, as_state(state, empty, self.device))
            return [part.cpu().numpy() for part in after]

        self.replay_buffer.refresh(advance)

    def _held_contexts(self) -> tuple[Tensor, np.ndarray]:
        """The contexts [P, Z] of all stretches that the replay holds, by the present model.

        Returns them and, for each environment, [E], what its stretches' numbers have to be added to for their rows.
        """
        envs, stretches = self.replay_buffer.stretches()
        order = np.lexsort((stretches, envs))
        envs, stretches = envs[order], stretches[order]
        first = np.searchsorted(envs, np.arange(self.n_envs))
        row_of = first - stretches[np.minimum(first, len(stretches) - 1)]
        model = self.policy.context_model
        if model is None:
            return torch.zeros(len(envs), 0, dtype=torch.float32, device=self.device), row_of
        size, contexts = self.adapt_config.train_support, []
        for some in range(0, len(envs), size):
            part = slice(some, some + size)
            contexts.append(model.infer(self._drawn(envs[part], stretches[part], size).runs))
        return torch.cat(contexts), row_of

    def _update(self, batch: SequenceBatch, *, logged: bool) -> dict[str, Tensor] | None:
        """One Adam step on TD, prediction and the model's loss; new target heads and priorities.

        Returns what the log tells of it, if it does; None, with weights, target heads and priorities as they were,
        where loss or gradient are infinite or NaN.
        """
        policy, x = self.policy, self._windows(batch)
        adaptation = self._adapt(batch, x, logged)
        features = self._features(x, adaptation.context, batch.state)
        seen = x.rows(self.replay_config.burn_in)
        rows = self._head_rows(features, seen)
        losses, td = self.head_losses(rows)
        heads = masked_mean(x.weights * losses, rows.mask)
        prediction = self._prediction_loss(features, seen)
        learned = heads + self.learner.prediction_weight * prediction
        loss = learned + adaptation.loss + adaptation.detector_loss
        policy.optimizer.zero_grad()
        loss.backward()
        norms = {
            name: torch.nn.utils.clip_grad_norm_(parameters, self.learner.max_grad_norm)
            for name, parameters in policy.clipped_apart().items()
        }
        if not torch.stack((loss.detach(), *norms.values())).cpu().isfinite().all():
            return None
        policy.optimizer.step()
        policy.follow(self.learner.tau)
        priorities = sequence_priorities(td.detach(), rows.mask, self.replay_config.eta)
        self.replay_buffer.update_priorities(batch, priorities.cpu().numpy())
        if not logged:
            return {}
        logs = {
            "loss": loss,
            "head_loss": heads,
            "td_error": masked_mean(td, rows.mask),
            "prediction_loss": prediction,
            "target_mean": masked_mean(rows.target, rows.mask),
            "priority_mean": priorities.mean(),
            **norms,
        }
        if policy.context_model is not None:
            logs["model_loss"] = adaptation.loss
            logs["adaptation_gain"] = adaptation.unadapted - adaptation.loss
            logs["detector_loss"] = adaptation.detector_loss
            logs["inner_rate"] = policy.context_model.meta.rates()["context"].mean()
        return {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def first_priorities(self, features: Tensor, x: Windows) -> np.ndarray:
        """Priorities [B] of windows that no update has drawn, by the features [rows + n, B, D] that acting had of them.

        Of the windows `x` [rows + n, B] actions, rewards and ends are looked at.
        """
        rows = self._head_rows(features, x)
        _, td = self.head_losses(rows)
        return sequence_priorities(td, rows.mask, self.replay_config.eta).cpu().numpy()

    def _windows(self, batch: SequenceBatch) -> Windows:
        """The windows as the agent sees them."""
        seen = batch._replace(obs=self._seen(batch.obs), reward=self._seen_reward(batch.reward))
        return Windows.of(seen, self.device)

    def _seen(self, obs: np.ndarray) -> np.ndarray:
        """Stored observations [..., O] as the agent sees them: normalised as by now, where there is VecNormalize."""
        normalizer = self._vec_normalize_env
        return obs if normalizer is None else np.asarray(normalizer.normalize_obs(obs))

    def _seen_reward(self, reward: np.ndarray) -> np.ndarray:
        """The same of stored rewards, which are scaled."""
        normalizer, scale = self._vec_normalize_env, self.learner.reward_scale
        return reward if normalizer is None else scale * normalizer.normalize_reward(reward / scale)

    def features(self, batch: SequenceBatch) -> tuple[Tensor, Windows]:
        """The features [rows + n, B, D] of windows after their burn-in, under a zero context; and those rows."""
        x = self._windows(batch)
        context = x.obs.new_zeros(*x.reward.shape, self.policy.context_dim)
        return self._features(x, context, batch.state), x.rows(self.replay_config.burn_in)

    def _features(self, x: Windows, context: Tensor, stored: Sequence[ArrayLike]) -> Tensor:
        """Burn-in without gradient from the stored state, then one unroll with gradient: [rows + n, B, D]."""
        b = self.replay_config.burn_in
        state = as_state(stored, self.policy.initial_state(1), self.device)
        if b:
            with torch.no_grad():
                _, state = self.policy.unroll(x.obs[:b], context[:b], x.memory_start[:b], state)
        features, _ = self.policy.unroll(x.obs[b:], context[b:], x.memory_start[b:], state)
        return features

    def _head_rows(self, features: Tensor, x: Windows) -> HeadRows:
        """Rows [T + n, B] with n-step targets from the target heads on the same features -> [T, B]."""
        output = self.head_output(features, self.policy.draw_noise(self.generator, x.reward.shape))
        with torch.no_grad():
            value = self.bootstrap_values(features, output)
        n = self.replay_config.n_step
        target = n_step_targets(x.reward, value, x.final, x.terminal, self.learner.gamma, n)
        t = len(target)
        return HeadRows(features[:t], tuple(part[:t] for part in output), x.action[:t], target, ~x.final[:t])

    # What steps did, for the memory's prediction and for the model that contexts are fitted with.

    def _runs(
        self,
        obs: Tensor,
        action: Tensor,
        reward: Tensor,
        final: Tensor,
        k: int,
        history: int = 0,
        length: Tensor | None = None,
    ) -> Outcomes:
        """The runs of k steps in rows [T + 1, ...], of which the last gives its observation alone; see `runs`."""
        shown, layout = obs[..., self.policy.shown], self.transition_layout
        change = obs[1:, ..., slice(*layout["change"])] if layout else shown[1:] - shown[:-1]
        t = len(change)
        vectors = self.policy.as_vectors(action[:t])
        return runs(shown, change, vectors, reward[:t], final[:t], k, history, length)

    def runs_of(self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, done: np.ndarray) -> Outcomes:
        """The runs of `AdaptConfig.steps_ahead` steps in a recorded stream [T, E, ...], in the environments' units.

        Runs over an episode's end are masked: the observation after it is the next episode's.
        """
        k, h = self.adapt_config.steps_ahead, self.adapt_config.history
        parts = (
            obs,
            self.policy.scale_action(action),
            self.policy.modelled_reward(self.learner.reward_scale * reward.astype(np.float32)),
            done,
        )
        padded = (np.concatenate((np.zeros((h, *x.shape[1:]), x.dtype), x)) for x in parts)
        x, a, r, final = (torch.as_tensor(part, device=self.device) for part in padded)
        final[:h] = True  # before the stream there is nothing
        return self._runs(x, a, r, final, k, h)

    def _prediction_loss(self, features: Tensor, x: Windows) -> Tensor:
        """Squared error of the predicted mean change of the observation and mean reward over the next k steps.

        Rows count whose next k steps are of their episode.
        """
        k = self.learner.prediction_steps
        outcomes = self._runs(x.obs, x.action, x.reward, x.final, k)
        t = min(len(outcomes.mask), len(x.reward) - self.replay_config.n_step)
        actions = outcomes.inputs[:t, :, self.policy.step_dims[0] :]
        predicted = self.policy.prediction(features[:t], actions)
        return prediction_loss(predicted, outcomes.outcome[:t], outcomes.mask[:t], x.weights)

    def _adapt(self, batch: SequenceBatch, x: Windows, logged: bool) -> Adaptation:
        """Fit a context to each window's phase: that of its first row after the burn-in.

        Support and query are different runs of that phase. The support is what acting has in a phase of an age that is
        drawn anew, more often a young one: all of the runs so far, or as many as it may have, spread over them.
        """
        model, detector, b = self.policy.context_model, self.policy.detector, self.replay_config.burn_in
        if model is None or detector is None:
            nothing = x.obs.new_zeros(())
            return Adaptation(x.obs.new_zeros(*x.reward.shape, 0), nothing, nothing, nothing)
        count, size = len(batch.env), self.adapt_config.train_support
        age = (OLDEST * self.generator.random(count) ** 3).astype(np.int64)
        span = np.concatenate((age, np.full(count, np.iinfo(np.int64).max)))
        env, stretch = np.tile(batch.env, 2), np.tile(batch.stretch[b], 2)
        drawn = self._drawn(env, stretch, size, span=span, partly=True)
        support = drawn.of(slice(count))
        query, steps, _ = drawn.of(slice(count, None)).apart_from(support)
        context = model.fit(support.runs)
        loss = masked_mean(model.loss(context, query), query.mask)
        acted_on = model.fit_as_acting(support.runs, context)
        model.observe_scale(acted_on[acted_on.isfinite().all(-1)])
        unadapted = torch.zeros_like(loss)
        if logged:
            with torch.no_grad():
                unadapted = masked_mean(model.loss(torch.zeros_like(context), query), query.mask)
        told = model.told(acted_on)
        ours = x.stretch == x.stretch[b]
        of_steps = masked_mean(detector.loss(told, steps), steps.mask)
        return Adaptation(ours[..., None] * told, loss, unadapted, of_steps)

    def _lengths(self, shape: tuple[int, ...], h: int) -> Tensor:
        """How many steps before it are shown with each run: half of the time all h, else fewer, as in a young phase."""
        drawn = self.generator.integers(0, 2 * h, shape) if h else np.zeros(shape, np.int64)
        return torch.from_numpy(np.minimum(drawn, h)).to(self.device)

    def _drawn(
        self,
        envs: np.ndarray,
        stretches: np.ndarray,
        size: int,
        *,
        span: np.ndarray | None = None,
        partly: bool = False,
    ) -> DrawnRuns:
        """Up to `size` different runs from each of K stretches of the replay.

        Args:
            envs, stretches: of the replay, [K].
            size: S, most runs of each.
            span: from how many neighbouring ones they are drawn, [K]; None: from all.
            partly: show a random number of the steps before each in place of all, as where a phase is young.
        """
        config, shape = self.adapt_config, (len(envs), size)
        shown = ((config.steps_ahead, config.history), (1, config.evidence_history))
        total = max(map(sum, shown))
        drawn = self.replay_buffer.support(envs, stretches, size=size, steps=total, span=span)
        # What TransitionObservation shows, and acting reads, is the environment's reward, however VecNormalize has it.
        paid = drawn.reward if self.transition_layout else self._seen_reward(drawn.reward)
        reward_of_models = self.policy.modelled_reward(paid)
        seen = (self._seen(drawn.obs), drawn.action, reward_of_models, drawn.mask)
        obs, action, reward, mask = (torch.from_numpy(part).to(self.device) for part in seen)
        final = torch.zeros_like(reward, dtype=torch.bool)
        found = []
        for k, h in shown:
            first, length = total - k - h, self._lengths(shape, h) if partly else None
            one = self._runs(obs[first:], action[first:], reward[first:], final[first:], k, h, length)
            found.append(Outcomes(one.inputs[0], one.outcome[0], mask))
        return DrawnRuns(found[0], found[1], drawn.start)

"""What every off-policy agent with a memory shares: acting with carried memory, storing, the training step.

A subclass says what its heads are worth: `bootstrap_values` and `head_losses`. Everything else stands here once.
"""

from __future__ import annotations

import io
import pathlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import polyak_update
from torch import Tensor
from torch.nn import functional

from memagent.agents.acting import Acting, AdaptConfig, MemoryScope, Support, select
from memagent.agents.rows import HeadRows, Windows, stored_state
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.policies import HeadParams, MemoryPolicy
from memagent.replay import PrioritizedSequenceBuffer, ReplayConfig, SequenceBatch
from memagent.replay.sequences import same_phase
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
    """Weight of the prediction loss: the next change of the observation and the reward."""
    memory_scope: MemoryScope = "episode"
    """How long memory lives: an episode, a phase or the lifetime."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "steps_per_update", "max_grad_norm", "reward_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"LearnerConfig got {name}={getattr(self, name)}; give a number above 0.")
        for name in ("gamma", "tau"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"LearnerConfig got {name}={getattr(self, name)}; give a number from 0 to 1."
                )


class MemoryAlgorithm(OffPolicyAlgorithm, ABC):
    """An off-policy learner with a memory, prioritised sequence replay and heads that adapt.

    Args:
        policy: a `MemoryPolicy` class or its alias "MemoryPolicy".
        env: anything SB3 takes; observations are one-dimensional, best with `TransitionObservation`.
        memory, replay, meta, adapt, learner: see the dataclasses.
        policy_kwargs: further keyword arguments of the policy (features_dim, head_size).
        seed, verbose, device, tensorboard_log, stats_window_size: as in SB3.

    Raises:
        ValueError: for an action or observation space that the agent cannot take.
    """

    policy: MemoryPolicy
    replay_buffer: PrioritizedSequenceBuffer  # type: ignore[assignment]  # SB3's base expects its own buffer class

    supported_actions: ClassVar[tuple[type[spaces.Space], ...]]
    advice: ClassVar[str]

    def __init__(
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str | None,
        *,
        memory: MemoryConfig | None = None,
        replay: ReplayConfig | None = None,
        meta: MetaConfig | None = None,
        adapt: AdaptConfig | None = None,
        learner: LearnerConfig | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        self.memory_config, self.replay_config = memory or MemoryConfig(), replay or ReplayConfig()
        self.meta_config, self.adapt_config = meta or MetaConfig(), adapt or AdaptConfig()
        self.learner = learner or LearnerConfig()
        super().__init__(
            policy,
            env,  # type: ignore[arg-type]  # None is how `load` builds an agent without environment
            learning_rate=self.learner.learning_rate,
            buffer_size=self.replay_config.capacity,
            learning_starts=self.learner.learning_starts,
            batch_size=self.learner.batch_size,
            tau=self.learner.tau,
            gamma=self.learner.gamma,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            sde_support=False,
        )
        if self.env is not None:
            self._read_environment()
        if _init_setup_model:
            self._setup_model()

    def _read_environment(self) -> None:
        """Check the spaces, and find where the observation holds what TransitionObservation appends."""
        if not isinstance(self.action_space, self.supported_actions):
            raise ValueError(
                f"{type(self).__name__} was given the action space {self.action_space}; {self.advice}"
            )
        shape = self.observation_space.shape
        if not isinstance(self.observation_space, spaces.Box) or shape is None or len(shape) != 1:
            raise ValueError(
                f"{type(self).__name__} was given the observation space {self.observation_space}; expected a "
                "one-dimensional Box: wrap the environment in gymnasium.wrappers.FlattenObservation."
            )
        assert self.env is not None
        self.transition_layout: dict[str, tuple[int, int]] | None = None
        if self.env.has_attr("transition_layout"):
            self.transition_layout = self.env.get_attr("transition_layout", indices=0)[0]
        else:
            warnings.warn(
                "The environment has no TransitionObservation: the memory sees neither its last action nor reward "
                "and can hardly identify a hidden condition. Wrap it in envs.TransitionObservation.",
                stacklevel=4,
            )

    def _setup_model(self) -> None:
        self._setup_lr_schedule()
        self.set_random_seed(self.seed)
        if self.seed is not None and self.env is not None:
            # SB3 seeds environment i with seed + i, so that runs 0, 1, 2, … would share nearly all their lifetimes.
            self.env.seed(int(np.random.SeedSequence(self.seed).generate_state(1)[0]))
        self.generator = np.random.default_rng(self.seed)
        change = self.transition_layout["change"] if self.transition_layout else None
        policy = self.policy_class(
            self.observation_space,
            self.action_space,
            self.lr_schedule,
            memory=self.memory_config,
            meta=self.meta_config,
            start_index=self.transition_layout["start"][0] if self.transition_layout else None,
            change_dim=change[1] - change[0] if change else None,
            **self.policy_kwargs,
        )
        assert isinstance(policy, MemoryPolicy)
        self.policy = policy.to(self.device)
        updates = max(1, round(self.n_envs / self.learner.steps_per_update))
        self.gradient_steps = updates
        self.train_freq = max(1, round(self.learner.steps_per_update / self.n_envs))
        self._convert_train_freq()
        if getattr(self, "replay_buffer", None) is None:
            self.replay_buffer = self._make_replay()
        self.acting = self.make_acting(self.n_envs)
        self._episodes = np.zeros(self.n_envs, np.int64)

    def _make_replay(self) -> PrioritizedSequenceBuffer:
        assert self.observation_space.shape is not None and self.action_space.shape is not None
        state = self.policy.initial_state(1)
        return PrioritizedSequenceBuffer(
            self.replay_config,
            self.n_envs,
            obs_shape=self.observation_space.shape,
            action_shape=self.action_space.shape,
            action_dtype=np.int64 if isinstance(self.action_space, spaces.Discrete) else np.float32,
            state_spec=[
                (name, tuple(part.shape[1:])) for name, part in zip(state._fields, state, strict=True)
            ],
            seed=self.seed,
        )

    # What a subclass says.

    @abstractmethod
    def bootstrap_values(self, features: Tensor) -> Tensor:
        """Values [T, B] of features [T, B, D] by the target heads, without gradient."""

    @abstractmethod
    def head_losses(self, params: Mapping[str, Tensor], rows: HeadRows) -> tuple[Tensor, Tensor]:
        """The loss of every row under the given head parameters, and its |TD error|; both [...] like `rows.target`.

        Only parameters and features may carry gradient; the function is vmapped over tasks.
        """

    @abstractmethod
    def explore(self, greedy: np.ndarray) -> np.ndarray:
        """Actions to take in training [E, ...], from the greedy ones."""

    # Acting and storing.

    def make_acting(self, num_envs: int, *, adapt: bool | None = None) -> Acting:
        """A fresh start in `num_envs` environments, from empty memory and unadapted heads.

        Args:
            num_envs: E.
            adapt: whether the heads adapt; None: as configured.
        """
        adapts = self.adapt_config.enabled if adapt is None else adapt
        return Acting(
            self.policy,
            num_envs,
            self.adapt_config,
            self.fit_heads if adapts else None,
            n_step=self.replay_config.n_step,
            reward_scale=self.learner.reward_scale,
            memory_scope=self.learner.memory_scope,
        )

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> Any:
        resets = reset_num_timesteps or self._last_obs is None
        result = super(OffPolicyAlgorithm, self)._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        if resets:  # the environments were reset: another stream begins
            self.replay_buffer.seam()
            self.acting.reset()
        return result

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> Any:
        assert isinstance(self._last_obs, np.ndarray)
        actions = self.acting.act(self._last_obs)  # memory advances under random actions too
        if self.num_timesteps < learning_starts:
            actions = np.array([self.action_space.sample() for _ in range(n_envs)])
        else:
            actions = self.explore(actions)
        return actions, actions  # SB3's second: what is stored; the heads' units are the policy's business

    def _store_transition(
        self,
        replay_buffer: Any,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        assert isinstance(self._last_obs, np.ndarray)
        acting, phase = self.acting, np.array([info.get("phase", 0) for info in infos], np.int64)
        self.replay_buffer.add(
            np.arange(self.n_envs),
            obs=self._last_obs,
            action=self.policy.scaled(buffer_action),
            reward=self.learner.reward_scale * reward,
            start=acting.episode_start,
            memory_start=acting.memory_start,
            final=False,
            terminal=False,
            phase=phase,
            episode=self._episodes,
            state=lambda envs: [s.cpu().numpy() for s in select(acting.before, envs)],
        )
        if dones.any():
            ended = np.flatnonzero(dones)
            self.replay_buffer.add(
                ended,
                obs=np.stack([infos[e]["terminal_observation"] for e in ended]),
                action=0,
                reward=0.0,
                start=False,
                memory_start=False,
                final=True,
                terminal=np.array([not infos[e].get("TimeLimit.truncated", False) for e in ended]),
                phase=phase[ended],
                episode=self._episodes[ended],
                state=lambda envs: [s.cpu().numpy() for s in select(acting.state, envs)],
            )
            self._episodes[ended] += 1
        acting.observe(buffer_action, reward, dones, infos)
        self._last_obs = new_obs

    # Learning.

    def head_rows(
        self, features: Tensor, action: Tensor, reward: Tensor, final: Tensor, terminal: Tensor
    ) -> HeadRows:
        """Rows [T + n, B] with n-step targets from the target heads on the same features -> [T, B]."""
        n = self.replay_config.n_step
        with torch.no_grad():
            value = self.bootstrap_values(features)
        target = n_step_targets(reward, value, final, terminal, self.learner.gamma, n)
        t = len(target)
        return HeadRows(features[:t], action[:t], target, ~final[:t])

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
        for _ in range(gradient_steps):
            batch = self.replay_buffer.sample(batch_size, beta)
            logs = self._update(batch)
            self._n_updates += 1
        for name, value in logs.items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/learning_rate", rate)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("replay/beta", beta)
        self.logger.record("replay/windows", len(self.replay_buffer))
        self.logger.record("replay/transitions", self.replay_buffer.num_transitions)

    def _update(self, batch: SequenceBatch) -> dict[str, float]:
        """One Adam step on TD, prediction and meta loss; new target heads and priorities."""
        policy, weights = self.policy, torch.from_numpy(batch.weights).to(self.device)
        features, x = self.features(batch)
        rows = self.head_rows(features, x.action, x.reward, x.final, x.terminal)
        losses, td = self.head_losses(policy.head_params(), rows)
        td_term = masked_mean(weights * losses, rows.mask)
        prediction = self._prediction_loss(features, x, rows.mask)
        meta, gain = self._meta_loss(rows, x) if self.adapt_config.enabled else (features.new_zeros(()), 0.0)
        loss = td_term + self.learner.prediction_weight * prediction + self.adapt_config.meta_weight * meta
        policy.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(policy.online_parameters(), self.learner.max_grad_norm)
        policy.optimizer.step()
        polyak_update(policy.heads.parameters(), policy.target_heads.parameters(), self.learner.tau)
        priorities = sequence_priorities(td.detach(), rows.mask, self.replay_config.eta)
        self.replay_buffer.update_priorities(batch, priorities.cpu().numpy())
        return {
            "loss": loss.item(),
            "td_loss": td_term.item(),
            "prediction_loss": prediction.item(),
            "meta_loss": meta.item(),
            "adaptation_gain": gain,
            "inner_rate": torch.cat([r.flatten() for r in policy.meta.parameters()]).mean().exp().item(),
            "grad_norm": norm.item(),
            "target_mean": masked_mean(rows.target, rows.mask).item(),
            "priority_mean": priorities.mean().item(),
        }

    def features(self, batch: SequenceBatch) -> tuple[Tensor, Windows]:
        """Burn-in without gradient from the stored state, then one unroll with gradient.

        Returns:
            Features [support + query + n, B, D], and the windows' rows that they are of.
        """
        windows = Windows.of(batch, self.device)
        b = self.replay_config.burn_in
        state = stored_state(batch, self.policy.initial_state(1), self.device)
        if b:
            with torch.no_grad():
                _, state = self.policy.unroll(windows.obs[:b], windows.memory_start[:b], state)
        rows = windows.rows(b)
        features, _ = self.policy.unroll(rows.obs, rows.memory_start, state)
        return features, rows

    def _prediction_loss(self, features: Tensor, x: Windows, mask: Tensor) -> Tensor:
        """Squared error of the predicted change of the observation and reward, [T, B] rows."""
        t = len(mask)
        if self.transition_layout is None:
            change = x.obs[1 : t + 1] - x.obs[:t]
        else:  # the next observation holds its own change, scaled to order one
            change = x.obs[1 : t + 1, :, slice(*self.transition_layout["change"])]
        outcome = torch.cat((change, x.reward[:t, :, None]), -1)
        action = x.action[:t]
        if isinstance(self.action_space, spaces.Discrete):
            action = functional.one_hot(action, int(self.action_space.n)).float()
        return prediction_loss(self.policy.prediction(features[:t], action), outcome, mask, x.weights)

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

    # Saving.

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "acting"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """Write the replay as plain arrays (npz); the next batch after loading is the same to the bit."""
        np.savez(path, **self.replay_buffer.state_dict())  # type: ignore[arg-type]  # numpy takes files and paths

    def load_replay_buffer(
        self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True
    ) -> None:
        """Read what `save_replay_buffer` wrote; a seam follows unless `truncate_last_traj` is False."""
        with np.load(path, allow_pickle=False) as saved:
            self.replay_buffer.load_state_dict(saved)
        if truncate_last_traj:
            self.replay_buffer.seam()

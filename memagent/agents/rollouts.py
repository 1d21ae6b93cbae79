"""How experience gets into the replay: SB3's loop of rollouts, with carried memory, rows and states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import RolloutReturn, TrainFreq
from stable_baselines3.common.vec_env import VecEnv

from memagent.agents.acting import final_observations, select
from memagent.agents.described import DescribedLearner
from memagent.agents.finite import check_finite
from memagent.layout import refuse_contradiction
from memagent.told import told_phases

LONGEST_STRETCH = 512
"""Steps after which a believed phase begins another stretch of the replay."""


class Collector(Protocol):
    """Collects experience for an agent elsewhere than in the agent's own environments."""

    def collect(self, callback: BaseCallback, log_interval: int | None) -> RolloutReturn:
        """Store steps in the agent's replay, and count each as `count_step` does, after the callback has seen it."""

    def figures(self) -> dict[str, float]:
        """As `Acting.figures`."""

    def get_state(self) -> dict[str, Any]:
        """The environments' state for a checkpoint, as JSON's types; the agent gets what belongs to it."""


class RolloutLearner(DescribedLearner, ABC):
    """A learner that acts in its environments, or has others act, and stores what happened."""

    collector: Collector | None = None
    """Where experience comes from; None: from the agent's own environments."""

    @abstractmethod
    def explore(self, features: torch.Tensor) -> np.ndarray:
        """Actions to take in training [E, ...], in the units of the action space, for features [E, D]."""

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, train_freq: TrainFreq, *args: Any, **kwargs: Any
    ) -> RolloutReturn:
        """As SB3's, but a callback that stops learning loses nothing: the next `learn` goes on as if it had not.

        SB3 returns before the last step is stored, and begins the next rollout anew. Here that step is kept like any
        other, an update that it completes is made, and the next rollout has the steps that this one lacks.

        An error or an interrupt leaves the environments in the middle of a step: the next `learn` resets them.
        """
        if self.collector is not None:
            return self._collect_from(self.collector, callback, kwargs.get("log_interval"))
        left = train_freq._replace(frequency=max(1, train_freq.frequency - self.steps_since_update))
        try:
            rollout = super().collect_rollouts(env, callback, left, *args, **kwargs)
        except BaseException:
            self._last_obs = None
            raise
        # SB3 makes so many updates after this rollout: those that are due within its steps.
        every, since = self.learner.steps_per_update, self.num_timesteps - train_freq.frequency * env.num_envs
        self.gradient_steps = int(self.num_timesteps // every - since // every)
        if rollout.continue_training:
            self.steps_since_update = 0
        else:
            self._finish_step(callback.locals)
            self.steps_since_update += rollout.episode_timesteps // env.num_envs
            if self.steps_since_update >= train_freq.frequency:
                self.steps_since_update = 0
                if self.num_timesteps > self.learning_starts and self.gradient_steps:
                    self.train(self.gradient_steps, self.batch_size)
        return rollout

    def _finish_step(self, step: Mapping[str, Any]) -> None:
        """What SB3 does after a step at which no callback stops, with its own names."""
        self._store_transition(
            *(
                step[name]
                for name in ("replay_buffer", "buffer_actions", "new_obs", "rewards", "dones", "infos")
            )
        )
        self.count_step(step["infos"], step["dones"], step["log_interval"])

    def count_step(self, infos: list[dict[str, Any]], dones: np.ndarray, log_interval: int | None) -> None:
        """Take a step that is stored into the statistics, and write the log where it is due, as SB3 does."""
        self._update_info_buffer(infos, dones)
        self._update_current_progress_remaining(self.num_timesteps, self._total_timesteps)
        for _ in range(dones.sum()):
            self._episode_num += 1
            if log_interval is not None and self._episode_num % log_interval == 0:
                self.dump_logs()

    def _collect_from(
        self, collector: Collector, callback: BaseCallback, log_interval: int | None
    ) -> RolloutReturn:
        """As `collect_rollouts`, of steps that were done elsewhere."""
        every, since = self.learner.steps_per_update, self.num_timesteps
        rollout = collector.collect(callback, log_interval)
        self.gradient_steps = int(self.num_timesteps // every - since // every)
        if (
            not rollout.continue_training
            and self.num_timesteps > self.learning_starts
            and self.gradient_steps
        ):
            self.train(self.gradient_steps, self.batch_size)
        return rollout

    def dump_logs(self) -> None:
        """Write the log, with what is believed of the environments."""
        for name, value in (self.collector or self.acting).figures().items():
            self.logger.record(name, value)
        super().dump_logs()

    def _sample_action(self, learning_starts: int, action_noise: Any = None, n_envs: int = 1) -> Any:
        assert isinstance(self._last_obs, np.ndarray)
        features = self.acting.see(self._last_obs)  # memory advances under random actions too
        if self.num_timesteps < learning_starts:
            drawn = np.array([self.action_space.sample() for _ in range(n_envs)])
            actions = self.held("action", drawn, self.learner.exploration_steps, self.generator)
        else:
            actions = self.explore(features)
            check_finite("action", actions, self.num_timesteps)
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
        assert isinstance(new_obs, np.ndarray)
        check_finite("reward", reward, self.num_timesteps)
        check_finite("observation", new_obs, self.num_timesteps)
        ended = np.flatnonzero(dones)
        final_obs = final_observations(infos, ended)
        check_finite("final observation", final_obs, self.num_timesteps, ended)
        assert isinstance(self._last_obs, np.ndarray)
        acting, phase, obs, paid = self.acting, self._phases(infos), self._last_obs, reward
        if (normalizer := self._vec_normalize_env) is not None:  # what is stored are the originals
            obs, paid = np.asarray(self._last_original_obs), normalizer.get_original_reward()
            self._last_original_obs = normalizer.get_original_obs()
            final_obs = np.asarray(normalizer.unnormalize_obs(final_obs)) if ended.size else final_obs
        if self.transition_layout is not None and acting.belief is not None:
            goes_on, discrete = ~dones, isinstance(self.action_space, spaces.Discrete)
            did = self.policy.action_vectors(buffer_action) if discrete else buffer_action
            did = did.reshape(self.n_envs, -1)[goes_on]
            refuse_contradiction(self.transition_layout, new_obs[goes_on], did, paid[goes_on])
        self.replay_buffer.add(
            np.arange(self.n_envs),
            obs=obs,
            action=self.policy.scale_action(buffer_action),
            reward=self.learner.reward_scale * paid,
            start=acting.episode_start,
            memory_start=acting.memory_start,
            final=False,
            terminal=False,
            phase=phase,
            episode=self._episodes,
            state=lambda envs: [s.cpu().numpy() for s in select(acting.before, envs)],
        )
        if ended.size:
            self.replay_buffer.add(
                ended,
                obs=final_obs,
                action=np.zeros_like(buffer_action[ended]),
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
        self.policy.follow_peaks(acting.observed.peaks, acting.observed.stage)
        self._last_obs = new_obs

    def _phases(self, infos: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The phase [E] of the step just done: as it is told, or as the agent believes where it finds out by itself.

        In the latter case a phase is cut after every LONGEST_STRETCH steps: while the model is young it overlooks
        changes, and a stretch of the replay should seldom reach over one.
        """
        belief = self.acting.belief
        if belief is not None and self.adapt_config.phase_signal == "detect":
            return (belief.phase << 32) + belief.age // LONGEST_STRETCH
        return told_phases(infos)

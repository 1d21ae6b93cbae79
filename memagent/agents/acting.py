"""Acting in E environments at once: memory carried from step to step, a context fitted to each environment's phase.

Collecting experience and judging a trained agent go through the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from memagent.agents.phase import PhaseRuns
from memagent.context import AdaptConfig
from memagent.dynamics import Outcomes
from memagent.policies import MemoryPolicy

MemoryScope = Literal["episode", "phase", "lifetime"]
Fit = Callable[[Outcomes], Tensor]
Happened = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


class Acting:
    """What an agent carries while it acts in E environments.

    Each step is `act(obs)` and then `observe(...)` with what the environments answered.

    Args:
        policy: weights; read at every step, never written.
        num_envs: E.
        config: when and on what the context is fitted.
        fit: fits the context of n environments to runs of their phases, [n, S, ...] -> [n, Z]; None: it stays 0.
        happened: the change of the observation and the scaled reward [n, C + 1] of steps with these observations
            [n, O], next observations [n, O] and rewards [n].
        memory_scope: how long memory lives.
        sample_with: samples the actions, where the policy is a distribution; None: the greedy ones.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        num_envs: int,
        config: AdaptConfig,
        fit: Fit | None,
        happened: Happened,
        *,
        memory_scope: MemoryScope = "episode",
        sample_with: np.random.Generator | None = None,
    ) -> None:
        self.policy, self.num_envs, self.config, self.fit = policy, num_envs, config, fit
        self.happened, self.memory_scope, self.sample_with = happened, memory_scope, sample_with
        self.reset()

    def reset(self) -> None:
        """A new stream: empty memory, context 0, no runs to fit it to."""
        policy, config = self.policy, self.config
        self.state = self.before = policy.initial_state(self.num_envs)
        self.episode_start = np.ones(self.num_envs, bool)
        self.memory_start = np.ones(self.num_envs, bool)
        self.phase = np.full(self.num_envs, -1, np.int64)
        self.features = torch.zeros(self.num_envs, policy.features_dim, device=policy.device)
        self.context = torch.zeros(self.num_envs, policy.context_dim, device=policy.device)
        self.runs: PhaseRuns | None = None
        if self.fit is not None:
            sizes = policy.run_dims
            self.runs = PhaseRuns(
                self.num_envs,
                config.steps_ahead,
                config.support,
                *sizes,
                newest=config.phase_signal == "none",
            )
        self._next_fit = np.ones(self.num_envs, np.int64)  # runs of a phase at which its context is fitted
        # Observation, action and reward of the last step.
        self._last: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Fit contexts where it is time, advance the memory by obs [E, O]; the actions [E, ...]."""
        if self.runs is not None:
            if self._last is not None:
                self._add(np.flatnonzero(~self.episode_start), obs)
            self._fit_contexts()
            self._seen = obs
        self.before = self.state
        self.features, self.state = self.policy.advance(obs, self.memory_start, self.before, self.context)
        noise = None
        if self.sample_with is not None:
            noise = self.policy.draw_noise(self.sample_with, (self.num_envs,))
        return self.policy.actions(self.features, noise)

    def observe(
        self,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
    ) -> None:
        """What SB3's `VecEnv.step(action)` answered to the last `act`.

        Args:
            action: what was done, [E, ...], in the units of the action space.
            reward: [E], as the environment gave it.
            done: [E] bool.
            infos: with `terminal_observation` where done, and `phase` if there are phases.
        """
        phase = np.array([info.get("phase", 0) for info in infos], np.int64)
        changed = (phase != self.phase) & (self.phase >= 0)
        self.phase = phase
        told = np.zeros_like(done)
        if self.runs is not None:
            if self.config.phase_signal == "info":
                told = changed
                self._begin_anew(np.flatnonzero(told))
            self._last = (self._seen, self.policy.action_vectors(action), reward)
        if done.any():
            self._finish(np.flatnonzero(done), infos)
        self.episode_start = done.copy()
        starts = {"episode": done, "phase": changed, "lifetime": np.zeros_like(done)}[self.memory_scope]
        self.memory_start = starts | told

    def _begin_anew(self, envs: np.ndarray) -> None:
        """A new phase in `envs`: the step just done is its first."""
        if envs.size:
            assert self.runs is not None
            self.runs.forget(envs)
            self.context[envs] = 0.0
            self._next_fit[envs] = 1

    def _add(self, envs: np.ndarray, next_obs: np.ndarray) -> None:
        """Complete the last step of `envs` [n] by the observations after it, [E, O]."""
        assert self.runs is not None and self._last is not None
        obs, action, reward = (part[envs] for part in self._last)
        self.runs.add(envs, obs, action, self.happened(obs, next_obs[envs], reward))

    def _fit_contexts(self) -> None:
        """Fit the contexts of those environments whose phase has seen enough since the last fit."""
        assert self.runs is not None and self.fit is not None
        count, size, young = self.runs.count, self.config.support, self.config.young
        envs = np.flatnonzero(count >= self._next_fit)
        if envs.size:
            self.context[envs] = self.fit(self.runs.outcomes(envs, self.policy.device))
            grown = np.minimum(count, size) // 16 if self.runs.newest else count // 4
            wait = np.where(count < young, 1, np.maximum(grown, 1))
            self._next_fit[envs] = (count + wait)[envs]

    def _finish(self, envs: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> None:
        """Show memory and runs of the environments that ended an episode the final observation."""
        final_obs = np.stack([infos[e]["terminal_observation"] for e in envs])
        if self.runs is not None:
            next_obs = self._seen.copy()
            next_obs[envs] = final_obs
            self._add(envs, next_obs)
            self.runs.end_episode(envs)
        if self.memory_scope != "episode":
            after = select(self.state, envs)
            _, final_state = self.policy.advance(
                final_obs, np.zeros(len(envs), bool), after, self.context[envs]
            )
            index = torch.as_tensor(envs, device=self.policy.device)
            self.state = type(self.state)(
                *(s.index_copy(0, index, f) for s, f in zip(self.state, final_state, strict=True))
            )


def select(state: Any, envs: np.ndarray) -> Any:
    """The memory state of some environments."""
    return type(state)(*(s[torch.as_tensor(envs, device=s.device)] for s in state))

"""Acting in E environments at once: memory carried from step to step, heads fitted to each environment's phase.

Collecting experience and judging a trained agent go through the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from memagent.policies import HeadParams, MemoryPolicy

MemoryScope = Literal["episode", "phase", "lifetime"]


@dataclass(frozen=True)
class AdaptConfig:
    """When and on what the heads are adapted."""

    enabled: bool = True
    """Train the heads to be adapted (the meta loss) and adapt them while acting."""
    phase_signal: Literal["info", "none"] = "info"
    """"info": the environment's `info["phase"]` tells of a change (a labelled setting), and the heads start anew from
    the meta-parameters. "none": nobody tells; the newest transitions are fitted, whatever phase they are of."""
    adapt_every: int = 16
    """Steps of an environment between two fits while acting."""
    support: int = 64
    """Newest transitions of an environment that a fit looks at while acting."""
    meta_weight: float = 1.0
    """Weight of the meta loss beside the TD loss."""
    meta_every: int = 1
    """Updates from one with the meta loss to the next: the inner loop is most of the cost of many small updates."""

    def __post_init__(self) -> None:
        for name in ("adapt_every", "support", "meta_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a whole number, 1 or more.")


class Support(NamedTuple):
    """Rows to fit the heads to, time first; L = support + n_step, oldest row first."""

    features: Tensor  # [L, E, D]
    action: Tensor  # [L, E, ...]
    reward: Tensor  # [L, E]
    final: Tensor  # [L, E] bool
    terminal: Tensor  # [L, E] bool
    valid: Tensor  # [L, E] bool, False where the phase is younger than L rows


Fit = Callable[[Support], HeadParams]


class SupportRing:
    """The newest `length` rows of each environment, features as they were when the agent acted on them."""

    def __init__(self, num_envs: int, length: int, features_dim: int, action: np.ndarray) -> None:
        self.length = length
        self.count = np.zeros(num_envs, np.int64)
        self._features = torch.zeros(num_envs, length, features_dim)
        self._action = np.zeros((num_envs, length, *action.shape[1:]), action.dtype)
        self._reward = np.zeros((num_envs, length), np.float32)
        self._final, self._terminal = (np.zeros((num_envs, length), bool) for _ in range(2))

    def push(
        self,
        envs: np.ndarray,
        features: Tensor,
        action: np.ndarray | int = 0,
        reward: np.ndarray | float = 0.0,
        terminal: np.ndarray | None = None,
    ) -> None:
        """One row for each of `envs` [K]; with `terminal` [K] they are the final rows of episodes."""
        at = self.count[envs] % self.length
        self._features[envs, at] = features.cpu()
        self._action[envs, at], self._reward[envs, at] = action, reward
        self._final[envs, at] = terminal is not None
        self._terminal[envs, at] = False if terminal is None else terminal
        self.count[envs] += 1

    def newest(self, device: torch.device) -> Support:
        """The rows in the order they came, padded in front where fewer were seen."""
        steps = np.arange(self.length)[:, None]
        envs, at = np.arange(len(self.count))[None], (self.count + steps) % self.length
        fields = (self._action, self._reward, self._final, self._terminal)
        action, reward, final, terminal = (torch.from_numpy(x[envs, at]).to(device) for x in fields)
        valid = torch.from_numpy(steps >= self.length - self.count).to(device)
        return Support(self._features[envs, at].to(device), action, reward, final, terminal, valid)


class Acting:
    """What an agent carries while it acts in E environments.

    Each step is `act(obs)` and then `observe(...)` with what the environments answered.

    Args:
        policy: weights; read at every step, never written.
        num_envs: E.
        config: when to adapt.
        fit: fits the heads of every environment to its support rows; None: the heads never adapt.
        n_step: rows behind the support rows that their targets need.
        reward_scale: factor on the rewards that heads are fitted to.
        memory_scope: how long memory lives.
        sample_with: samples the actions, where the policy is a distribution; None: the greedy ones.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        num_envs: int,
        config: AdaptConfig,
        fit: Fit | None,
        *,
        n_step: int,
        reward_scale: float = 1.0,
        memory_scope: MemoryScope = "episode",
        sample_with: np.random.Generator | None = None,
    ) -> None:
        self.sample_with = sample_with
        self.policy, self.num_envs, self.config, self.fit = policy, num_envs, config, fit
        self.n_step, self.reward_scale, self.memory_scope = n_step, reward_scale, memory_scope
        self.reset()

    def reset(self) -> None:
        """A new stream: empty memory, unadapted heads, no support."""
        self.state = self.before = self.policy.initial_state(self.num_envs)
        self.episode_start = np.ones(self.num_envs, bool)
        self.memory_start = np.ones(self.num_envs, bool)
        self.phase = np.full(self.num_envs, -1, np.int64)
        self.features = torch.zeros(self.num_envs, self.policy.features_dim)
        self.heads: HeadParams | None = None
        self._steps = 0
        self._ring: SupportRing | None = None

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Advance the memory by obs [E, O]; the actions [E, ...] of each environment's heads."""
        self.before = self.state
        self.features, self.state = self.policy.advance(obs, self.memory_start, self.before)
        noise = None
        if self.sample_with is not None:
            noise = self.policy.draw_noise(self.sample_with, (self.num_envs,))
        return self.policy.actions(self.features, self.heads, noise)

    def observe(
        self,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: Sequence[Mapping[str, Any]],
    ) -> None:
        """What SB3's `VecEnv.step(action)` answered to the last `act`; adapts the heads when it is time.

        Args:
            action: what was done, [E, ...], in the units of the action space.
            reward: [E], as the environment gave it.
            done: [E] bool.
            infos: with `terminal_observation` where done, `TimeLimit.truncated`, and `phase` if there are phases.
        """
        phase = np.array([info.get("phase", 0) for info in infos], np.int64)
        changed = (phase != self.phase) & (self.phase >= 0)
        self.phase = phase
        if self.fit is not None:
            self._collect(self.policy.scaled(action), self.reward_scale * reward, changed)
        if done.any():
            self._finish(np.flatnonzero(done), infos)
        self.episode_start = done.copy()
        self.memory_start = {"episode": done.copy(), "phase": changed, "lifetime": np.zeros_like(done)}[
            self.memory_scope
        ]
        self._steps += 1
        if self.fit is not None and self._ring is not None and self._steps % self.config.adapt_every == 0:
            self.heads = self.fit(self._ring.newest(self.policy.device))

    def _collect(self, action: np.ndarray, reward: np.ndarray, changed: np.ndarray) -> None:
        """Keep the row for the next fit; forget an old phase's rows and heads where one is told of its end."""
        if self._ring is None:
            length = self.config.support + self.n_step
            self._ring = SupportRing(self.num_envs, length, self.policy.features_dim, action)
        if self.config.phase_signal == "info" and changed.any():
            self._ring.count[changed] = 0
            if self.heads is not None:
                meta, new = self.policy.head_params(), torch.from_numpy(changed)
                for name, adapted in self.heads.items():
                    adapted[new] = meta[name].detach()
        self._ring.push(np.arange(self.num_envs), self.features, action, reward)

    def _finish(self, envs: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> None:
        """Show the memory of the environments that ended an episode the final observation."""
        obs = np.stack([infos[e]["terminal_observation"] for e in envs])
        after = select(self.state, envs)
        features, final_state = self.policy.advance(obs, np.zeros(len(envs), bool), after)
        if self.memory_scope != "episode":
            self.state = type(self.state)(
                *(
                    s.index_copy(0, torch.from_numpy(envs), f)
                    for s, f in zip(self.state, final_state, strict=True)
                )
            )
        if self._ring is not None:
            terminal = np.array([not infos[e].get("TimeLimit.truncated", False) for e in envs])
            self._ring.push(envs, features, terminal=terminal)


def select(state: Any, envs: np.ndarray) -> Any:
    """The memory state of some environments."""
    index = torch.from_numpy(envs)
    return type(state)(*(s[index] for s in state))

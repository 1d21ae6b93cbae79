"""Acting in E environments at once: memory and belief carried from step to step.

Collecting experience and judging a trained agent go through the same object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from memagent.belief import Belief, BeliefTracker, Observed
from memagent.policies import MemoryPolicy
from memagent.told import told_phases

MemoryScope = Literal["episode", "phase", "lifetime"]
CARRIED = ("episode_start", "memory_start", "phase")
LAST = ("last_action", "last_reward")


class Acting:
    """What an agent carries while it acts in E environments.

    Each step is `act(obs)` and then `observe(...)` with what the environments answered.

    Args:
        policy: weights; read at every step, never written.
        num_envs: E.
        tracker: follows the phase of each environment and fits its context; None: the context stays 0.
        memory_scope: how long memory lives.
        sample_with: samples the actions, where the policy is a distribution; None: the greedy ones.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        num_envs: int,
        tracker: BeliefTracker | None,
        *,
        memory_scope: MemoryScope = "episode",
        sample_with: np.random.Generator | None = None,
    ) -> None:
        self.policy, self.num_envs, self.tracker = policy, num_envs, tracker
        self.memory_scope, self.sample_with = memory_scope, sample_with
        self.reset()

    def reset(self) -> None:
        """A new stream: empty memory, context 0, no runs to fit it to."""
        policy = self.policy
        self.state = self.before = policy.initial_state(self.num_envs)
        self.episode_start = np.ones(self.num_envs, bool)
        self.memory_start = np.ones(self.num_envs, bool)
        self.phase = np.full(self.num_envs, -1, np.int64)
        self.features = torch.zeros(
            self.num_envs, policy.features_dim, dtype=torch.float32, device=policy.device
        )
        self.belief: Belief | None = self.tracker.empty(self.num_envs) if self.tracker else None
        self.observed = Observed.nothing(self.num_envs)
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # action and reward of the last step

    @property
    def context(self) -> Tensor:
        """What memory and heads are told of each environment, [E, Z]."""
        policy = self.policy
        if self.belief is None:
            return torch.zeros(self.num_envs, policy.context_dim, dtype=torch.float32, device=policy.device)
        return torch.from_numpy(self.belief.context).to(policy.device)

    def figures(self) -> dict[str, float]:
        """What is believed of the environments, by its name in the log, each a mean over them, but for the changes."""
        if self.tracker is None or (belief := self.belief) is None:
            return {}
        moved = np.linalg.norm(belief.context - belief.last_context, axis=-1)[belief.phase > 0]
        return {
            "adapt/changes": int(belief.phase.sum()),  # known so far, noticed or told
            "adapt/steps_since_change": float(belief.age.mean()),
            "adapt/evidence_of_change": float(self.tracker.evidence(belief).mean()),
            "adapt/context_moved": float(moved.mean()) if moved.size else 0.0,
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        """What is carried from one step to the next, as arrays [E, ...] by name: as it is after `observe`."""
        held = {f"memory_{name}": part.cpu().numpy() for name, part in self.state._asdict().items()}
        held |= {name: getattr(self, name) for name in CARRIED}
        if self.belief is not None:
            held |= {f"belief_{name}": part for name, part in self.belief._asdict().items()}
        if self._last is not None:
            held |= dict(zip(LAST, self._last, strict=True))
        return held

    def load_state_dict(self, saved: Mapping[str, np.ndarray]) -> None:
        """Go on where `state_dict` was called.

        Raises:
            ValueError: names or shapes are those of other memories, beliefs or numbers of environments.
        """
        self.reset()
        own = {name: part.shape for name, part in self.state_dict().items()}
        given = {name: part.shape for name, part in saved.items() if name not in LAST}
        if given != own:
            wrong = sorted(name for name in given.keys() | own.keys() if given.get(name) != own.get(name))
            raise ValueError(
                f"What was carried while acting has other shapes in {', '.join(wrong)}; make the agent with the "
                "settings and the environments that it was saved with."
            )
        parts = (saved[f"memory_{name}"].copy() for name in self.state._fields)
        self.state = self.before = type(self.state)(
            *(torch.from_numpy(part).to(self.policy.device) for part in parts)
        )
        for name in CARRIED:
            setattr(self, name, saved[name].copy())
        if self.belief is not None:
            self.belief = Belief(*(saved[f"belief_{name}"].copy() for name in self.belief._fields))
        if LAST[0] in saved:
            action, reward = (saved[name].copy() for name in LAST)
            self._last = (action, reward)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """The actions [E, ...] for obs [E, O], which is taken in."""
        features = self.see(obs)
        noise = None
        if self.sample_with is not None:
            noise = self.policy.draw_noise(self.sample_with, (self.num_envs,))
        return self.policy.actions(features, noise)

    def see(self, obs: np.ndarray) -> Tensor:
        """Learn from the step that led to obs [E, O], then advance the memory by obs; the features [E, D]."""
        if self.tracker is not None:
            self._believe(obs)
        self.before = self.state
        self.features, self.state = self.policy.advance(obs, self.memory_start, self.before, self.context)
        return self.features

    def _believe(self, obs: np.ndarray) -> None:
        """Take in the last step; an alarm empties the memory, and z has begun anew."""
        assert self.tracker is not None and self.belief is not None
        action, reward = self._last or (None, None)
        step = self.policy.last_step(obs, self.belief.obs, action, reward)
        self.observed = self.tracker.observe(self.belief, *step, goes_on=~self.episode_start)
        self.memory_start = self.memory_start | self.observed.alarm

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
        phase = told_phases(infos)
        changed = (phase != self.phase) & (self.phase >= 0)
        self.phase = phase
        told = np.zeros_like(done)
        self._last = (action, reward)
        if self.tracker and self.belief:
            if self.tracker.config.phase_signal == "info":
                told = changed
                if told.any():
                    self.tracker.begin_anew(self.belief, np.flatnonzero(told))
            elif self.tracker.config.phase_signal == "detect":
                changed = told  # no label is read: `see` empties the memory where there is an alarm
        if done.any():
            self._finish(np.flatnonzero(done), infos)
        self.episode_start = done.copy()
        starts = {"episode": done, "phase": changed, "lifetime": np.zeros_like(done)}[self.memory_scope]
        self.memory_start = starts | told

    def _finish(self, envs: np.ndarray, infos: Sequence[Mapping[str, Any]]) -> None:
        """Show a memory that outlives the episode the final observation of the environments that ended one."""
        if self.memory_scope == "episode":
            return
        final_obs = final_observations(infos, envs)
        after = select(self.state, envs)
        index = torch.from_numpy(envs).to(self.policy.device)
        _, final_state = self.policy.advance(final_obs, np.zeros(len(envs), bool), after, self.context[index])
        self.state = type(self.state)(
            *(s.index_copy(0, index, f) for s, f in zip(self.state, final_state, strict=True))
        )


class Held:
    """Random numbers of E environments, each kept for some steps: what is tried for longer leads further away.

    After the temporally extended exploration of Dabney et al. 2021.
    """

    def __init__(self) -> None:
        self.kept: dict[str, np.ndarray] = {}

    def __call__(
        self, kind: str, drawn: np.ndarray, steps: float, generator: np.random.Generator
    ) -> np.ndarray:
        """`drawn` [E, ...] where an environment takes new ones, on average after `steps` steps; else the last ones.

        Numbers of one `kind` never stand in for those of another.
        """
        kept = self.kept.get(kind)
        if steps > 1.0 and kept is not None and kept.shape == drawn.shape:
            fresh = generator.random(len(drawn)) * steps < 1.0
            drawn = np.where(fresh.reshape(-1, *[1] * (drawn.ndim - 1)), drawn, kept)
        self.kept[kind] = drawn
        return drawn

    def state_dict(self) -> dict[str, np.ndarray]:
        """The numbers that are kept, by kind."""
        return dict(self.kept)

    def load_state_dict(self, saved: Mapping[str, np.ndarray]) -> None:
        """Take over what `state_dict` gave."""
        self.kept = dict(saved)


def final_observations(infos: Sequence[Mapping[str, Any]], envs: np.ndarray) -> np.ndarray:
    """The last observations [n, ...] of the environments `envs` [n] that ended an episode in the step just done.

    Raises:
        ValueError: the vector environment does not give them.
    """
    if missing := [e for e in envs.tolist() if "terminal_observation" not in infos[e]]:
        raise ValueError(
            f"Environment {missing[0]} ended an episode, and its info has no terminal_observation, expected the "
            "episode's last observation: have the VecEnv put it there, as SB3's own do."
        )
    return np.array([infos[e]["terminal_observation"] for e in envs])


def select(state: Any, envs: np.ndarray) -> Any:
    """The memory state of some environments."""
    return type(state)(*(s[torch.from_numpy(envs).to(s.device)] for s in state))

"""A batch as a Gymnasium VectorEnv: what SyncVectorEnv over the single environments returns, in one compiled call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs.batched import kernel
from envs.batched.batch import Batch
from envs.batched.wrapper_stack import WrapperStack


class BatchedVectorEnv(gym.vector.VectorEnv):
    """E environments like the one in `stack`, which agree with single ones of the same seeds.

    Observations, rewards, ends, autoreset (all three modes) and `info` are those of `SyncVectorEnv`; the arrays of
    `info` that stay the same from step to step are shared, and therefore read-only.
    """

    def __init__(
        self,
        stack: WrapperStack,
        num_envs: int,
        seeds: Sequence[int] | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        """Sets up the environments.

        Args:
            stack: what they are like, from `read_stack`.
            num_envs: E.
            seeds: [E], of a first reset that is done here, so that the next one without a seed goes on; None: none.
            autoreset_mode: as in Gymnasium.
        """
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self._disabled = self.autoreset_mode == AutoresetMode.DISABLED
        self._same_step = self.autoreset_mode == AutoresetMode.SAME_STEP
        self.num_envs = num_envs
        self.batch = Batch(stack, num_envs, next_step=self.autoreset_mode == AutoresetMode.NEXT_STEP)
        self.metadata = {**stack.env.metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = stack.env.render_mode
        self.spec = stack.env.spec
        self.single_observation_space = stack.env.observation_space
        self.single_action_space = stack.env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._obs = np.zeros(self.observation_space.shape or (), np.float32)
        self._all = _constant(np.ones(num_envs, np.bool_))
        self._constants: dict[str, Any] | None = None
        if seeds is not None:
            self.batch.reset(np.arange(num_envs), seeds, [None] * num_envs, self._obs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        E = self.num_envs
        seeds: Sequence[int | None]
        if seed is None:
            seeds = [None] * E
        else:
            seeds = [int(seed) + i for i in range(E)] if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != E:
            raise ValueError(
                f"reset(seed=…) got {len(seeds)} seeds: expected one for each of {E} environments."
            )
        left = dict(options or {})
        mask = np.asarray(left.pop("reset_mask", self._all))
        if mask.shape != (E,) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"reset got the reset_mask {mask}: expected {E} bools, True for one environment at least."
            )
        which = np.flatnonzero(mask)
        self.batch.reset(which, seeds, [left] * E, self._obs)
        self._constants = None
        info: dict[str, Any] = {}
        for env in which.tolist():
            info = self._add_info(info, self.batch.report(env), env)
        return self._obs.copy(), info

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        batch = self.batch
        if self._disabled and batch.counts[:, kernel.OVER].any():
            raise ValueError(
                "Some environments are over: reset them (options={'reset_mask': …}) before step()."
            )
        obs, reward, flags, since = batch.step(actions)
        if batch.changed:
            self._constants = None
        terminated, truncated, changed = flags[0], flags[1], flags[2]
        info: dict[str, Any] = {}
        if self._same_step:
            over = np.flatnonzero(terminated | truncated)
            if over.size:
                info = self._restart(over, obs, changed, since)
        self._obs[:] = obs  # what the caller does to the array that is returned, a masked reset does not show
        if batch.clocks:
            info = self._inform(info, changed, since)
        return obs, reward, terminated, truncated, info

    def _restart(
        self, over: np.ndarray, obs: np.ndarray, changed: np.ndarray, since: np.ndarray
    ) -> dict[str, Any]:
        """Resets in the step that ended the episodes; their last observations and infos."""
        batch = self.batch
        info: dict[str, Any] = {}
        for env in over.tolist():
            final = {"final_obs": obs[env].copy(), "final_info": batch.last_report(env, changed, since)}
            info = self._add_info(info, final, env)
        batch.attend(over=True)
        if batch.changed:
            self._constants = None
        batch.begin(over, obs)
        batch.report_starts(over, changed, since)
        return info

    def _inform(self, info: dict[str, Any], changed: np.ndarray, since: np.ndarray) -> dict[str, Any]:
        if self._constants is None:
            self._constants = self._collect()
        constants = self._constants
        context = constants["context"].copy()
        return {
            **info,
            **constants,
            "context": context,
            "phase_changed": changed,
            "steps_since_change": since,
        }

    def _collect(self) -> dict[str, Any]:
        """The entries of `info` that stay the same until a context changes."""
        counts, every = self.batch.counts, self._all
        context: dict[str, np.ndarray] = {}
        for name, row in zip(self.batch.contexts[0], _constant(self.batch.values.T.copy()), strict=True):
            context[name], context[f"_{name}"] = row, every
        return {
            "phase": _constant(counts[:, kernel.PHASE].copy()),
            "context_id": _constant(counts[:, kernel.CONTEXT].copy()),
            "context": context,
            "_phase": every,
            "_context_id": every,
            "_context": every,
            "_phase_changed": every,
            "_steps_since_change": every,
        }

    # ------------------------------------------------------------------------------------------- the rest

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of every environment."""
        return tuple(self.batch.get_attr(env, name) for env in range(self.num_envs))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """An attribute of every environment; of methods, `render` alone can be called."""
        if name == "render":
            return self.render()
        return self.get_attr(name)

    def set_attr(self, name: str, values: Any) -> NoReturn:
        """Refused: a batch has no environments to set an attribute of."""
        raise AttributeError(
            f"Setting {name} in a batch has no effect: build with make_vec(…, batched=False)."
        )

    def render(self) -> tuple[Any, ...]:
        """A picture of every environment."""
        return tuple(self.batch.render(env) for env in range(self.num_envs))

    def get_state(self) -> dict[str, Any]:
        """Everything that distinguishes these environments from new ones, as plain values that JSON can hold."""
        return self.batch.get_state()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self.batch.set_state(state)
        self._constants = None


def _constant(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array

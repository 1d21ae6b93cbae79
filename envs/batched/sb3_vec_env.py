"""A batch as a Stable-Baselines3 VecEnv: what DummyVecEnv over monitored single environments returns."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from envs.batched import kernel
from envs.batched.batch import Batch
from envs.batched.wrapper_stack import WrapperStack
from envs.lifetime import ContextInfo


class BatchedVecEnv(VecEnv):
    """E environments like the one in `stack`, which agree with single ones of the same seeds.

    `infos` hold what a Monitor (`episode`) and DummyVecEnv (`terminal_observation`, `TimeLimit.truncated`) add, and
    `reset_infos` the infos of resets. SB3's VecMonitor would add the same in Python, for a fifth of a step and more.
    """

    def __init__(self, stack: WrapperStack, num_envs: int, seeds: Sequence[int] | None = None) -> None:
        """Sets up the environments.

        Args:
            stack: what they are like, from `read_stack`.
            num_envs: E.
            seeds: [E], of a first reset that is done here, so that the next one without a seed goes on; None: none.
        """
        self.batch = Batch(stack, num_envs, next_step=False)
        self._born = time.time()
        super().__init__(num_envs, stack.env.observation_space, stack.env.action_space)
        self.metadata = stack.env.metadata
        self._actions: np.ndarray | None = None
        if seeds is not None:
            self._reset(seeds, [None] * num_envs)

    def reset(self) -> np.ndarray:
        obs = self._reset(self._seeds, self._options)
        self._reset_seeds()
        self._reset_options()
        return obs

    def _reset(self, seeds: Sequence[int | None], options: Sequence[Mapping[str, Any] | None]) -> np.ndarray:
        obs = np.empty((self.num_envs, *(self.observation_space.shape or ())), np.float32)
        self.batch.reset(np.arange(self.num_envs), seeds, options, obs)
        self.reset_infos = [self.batch.report(env) for env in range(self.num_envs)]
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        batch = self.batch
        obs, reward, flags, since = batch.step(self._actions)
        terminated, truncated, changed = flags[0], flags[1], flags[2]
        done, cut = terminated | truncated, truncated & ~terminated
        infos = self._inform(changed, since) if batch.clocks else [{} for _ in range(self.num_envs)]
        for info, of_time in zip(infos, cut.tolist(), strict=True):
            info["TimeLimit.truncated"] = of_time
        over = np.flatnonzero(done)
        if over.size:
            self._restart(over, obs, infos)
        return obs, reward.astype(np.float32), done, infos

    def _inform(self, changed: np.ndarray, since: np.ndarray) -> list[dict[str, Any]]:
        counts = self.batch.counts
        return [
            {
                "phase": phase,
                "context_id": context_id,
                "phase_changed": is_new,
                "context": ContextInfo(context),
                "steps_since_change": steps,
            }
            for phase, context_id, is_new, context, steps in zip(
                counts[:, kernel.PHASE].tolist(),
                counts[:, kernel.CONTEXT].tolist(),
                changed.tolist(),
                self.batch.contexts,
                since.tolist(),
                strict=True,
            )
        ]

    def _restart(self, over: np.ndarray, obs: np.ndarray, infos: list[dict[str, Any]]) -> None:
        batch, age = self.batch, round(time.time() - self._born, 6)
        for env in over.tolist():
            length, gained = int(batch.counts[env, kernel.ELAPSED]), round(float(batch.returns[env]), 6)
            infos[env]["episode"] = {"r": gained, "l": length, "t": age}
            infos[env]["terminal_observation"] = obs[env].copy()
        batch.attend(over=True)
        batch.begin(over, obs)
        for env in over.tolist():
            self.reset_infos[env] = batch.report(env)

    # ------------------------------------------------------------------------------------------- the rest

    def close(self) -> None:
        self.batch.stack.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [self.batch.render(env) for env in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [self.batch.get_attr(env, attr_name) for env in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> NoReturn:
        raise AttributeError(
            f"Setting {attr_name} in a batch has no effect: build with make_vec(…, batched=False)."
        )

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Calls a method that only looks: of the environment's spaces and attributes."""
        if method_name not in ("get_wrapper_attr", "has_wrapper_attr", "render"):
            raise AttributeError(
                f"{method_name} cannot be called in a batch: build with make_vec(…, batched=False)."
            )
        if method_name == "render":
            return [self.batch.render(env) for env in self._get_indices(indices)]
        return [self.batch.get_attr(e, method_name)(*args, **kwargs) for e in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: Any = None) -> list[bool]:
        wrapped = wrapper_class is Monitor or is_wrapped(self.batch.stack.env, wrapper_class)
        return [wrapped for _ in self._get_indices(indices)]

    def get_state(self) -> dict[str, Any]:
        """Everything that distinguishes these environments from new ones, as plain values that JSON can hold."""
        return {**self.batch.get_state(), "next_reset": {"seeds": self._seeds, "options": self._options}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on exactly where `get_state` was called."""
        self.batch.set_state(state)
        self._seeds, self._options = (list(state["next_reset"][name]) for name in ("seeds", "options"))

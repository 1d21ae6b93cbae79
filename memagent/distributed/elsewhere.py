"""The environments of a training as its learner sees them: their number and spaces, while actors step them."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn


class Elsewhere(VecEnv):
    """Stands for `num_envs` environments like `one`, and steps none; a reset shows zeros."""

    def __init__(self, one: VecEnv, num_envs: int) -> None:
        self.one = one
        super().__init__(num_envs, one.observation_space, one.action_space)

    def reset(self) -> VecEnvObs:
        shape = self.observation_space.shape
        assert shape is not None
        return np.zeros((self.num_envs, *shape), self.observation_space.dtype)

    def step_async(self, actions: np.ndarray) -> None:
        raise RuntimeError(
            "These environments are stepped by actors; set the agent's collector, as train.py does with --actors."
        )

    def step_wait(self) -> VecEnvStepReturn:
        raise NotImplementedError

    def close(self) -> None:
        self.one.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return self.one.get_attr(attr_name, indices=0) * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        return self.one.env_is_wrapped(wrapper_class, indices=0) * len(list(self._get_indices(indices)))

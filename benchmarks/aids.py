"""What helps an agent to learn within a short training, around SB3's vector environments."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

import envs


class PaidSpeed(VecEnvWrapper):
    """Adds `pay` times the speed, which the second number of the observation is, to the rewards."""

    def __init__(self, venv: VecEnv, pay: float) -> None:
        super().__init__(venv)
        self.pay = pay

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        obs, reward, done, infos = self.venv.step_wait()
        assert isinstance(obs, np.ndarray)
        return obs, reward + self.pay * np.abs(obs[:, 1]), done, infos


class SignUndone(VecEnvWrapper):
    """Reverses actions where the context, which is in the observation, says that they will be reversed.

    What an agent does with the sign once it knows it: it need not learn everything twice. The previous action in the
    observation is turned back too.

    Args:
        venv: environments of a drifting id, with the context in their observation.
        name: the id.
    """

    def __init__(self, venv: VecEnv, name: str) -> None:
        super().__init__(venv)
        moving = list(envs.default_drift(name).moving)
        layout = venv.get_attr("transition_layout", indices=0)[0]
        self.sign_at = layout["observation"][1] - len(moving) + moving.index("action_sign")
        self.action = slice(*layout["action"])
        self.choices = venv.action_space.n if isinstance(venv.action_space, spaces.Discrete) else None

    @staticmethod
    def fits(name: str) -> bool:
        """Whether there is a sign to undo."""
        return "action_sign" in envs.default_drift(name).moving

    def _turned(self, obs: np.ndarray) -> np.ndarray:
        obs, part = obs.copy(), obs[..., self.action]
        reverse = -part if self.choices is None else part[..., ::-1]  # one-hot where actions are discrete
        obs[..., self.action] = np.where(obs[..., self.sign_at, None] < 0, reverse, part)
        return obs

    def reset(self) -> VecEnvObs:
        obs = self.venv.reset()
        assert isinstance(obs, np.ndarray)
        self.reversed = obs[:, self.sign_at] < 0
        return self._turned(obs)

    def step_async(self, actions: np.ndarray) -> None:
        reverse = -actions if self.choices is None else self.choices - 1 - actions
        which = self.reversed.reshape(-1, *[1] * (actions.ndim - 1))
        self.venv.step_async(np.where(which, reverse, actions))

    def step_wait(self) -> VecEnvStepReturn:
        obs, reward, done, infos = self.venv.step_wait()
        assert isinstance(obs, np.ndarray)
        self.reversed = obs[:, self.sign_at] < 0
        for e in np.flatnonzero(done):
            infos[e]["terminal_observation"] = self._turned(infos[e]["terminal_observation"])
        return self._turned(obs), reward, done, infos

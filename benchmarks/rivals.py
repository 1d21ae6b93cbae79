"""Agents that others wrote: SB3's SAC, sb3-contrib's RecurrentPPO.

Their settings are those of RL Baselines3 Zoo for the pendulum: `hyperparams/sac.yml`, Pendulum-v1, and
`hyperparams/ppo_lstm.yml`, PendulumNoVel-v1; what those leave out is the library's default. They run in as many
environments as there, and see the last transition as every agent of ours does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sb3_contrib import RecurrentPPO
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

SAC_SETTINGS = {"learning_rate": 1e-3}
PPO_SETTINGS = {
    "gae_lambda": 0.95,
    "gamma": 0.9,
    "n_epochs": 10,
    "ent_coef": 0.0,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "use_sde": True,
    "sde_sample_freq": 4,
}


def sac(env: VecEnv, seed: int) -> SAC:
    """SB3's SAC."""
    return SAC("MlpPolicy", env, seed=seed, device="cpu", **SAC_SETTINGS)  # type: ignore[arg-type]


def recurrent_ppo(env: VecEnv, seed: int) -> RecurrentPPO:
    """PPO with an LSTM, its rollouts 4,096 steps in all: 1,024 in each of the Zoo's four environments."""
    steps = 4_096 // env.num_envs
    return RecurrentPPO("MlpLstmPolicy", env, n_steps=steps, seed=seed, device="cpu", **PPO_SETTINGS)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rival:
    """How a rival is made and what it sees."""

    make: Callable[[VecEnv, int], BaseAlgorithm]
    settings: Mapping[str, Any]
    num_envs: int
    stack: int = 1
    """Observations that it sees at once, the last ones."""

    def sees(self, env: VecEnv) -> VecEnv:
        """The environments as the rival sees them."""
        return VecFrameStack(env, self.stack) if self.stack > 1 else env


RIVALS = {
    "SB3 SAC": Rival(sac, SAC_SETTINGS, num_envs=1),
    "SB3 SAC, 8 frames": Rival(sac, SAC_SETTINGS, num_envs=1, stack=8),
    "RecurrentPPO": Rival(recurrent_ppo, PPO_SETTINGS, num_envs=4),
}

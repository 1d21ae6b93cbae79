"""Agents that others wrote: SB3's SAC, DQN and PPO, sb3-contrib's RecurrentPPO.

    python -m benchmarks.rivals

trains and judges them on Drift/CartPole-v0 as benchmarks.adaptation does ours, and keeps the results in
benchmarks/results/rivals.json; on the continuous tasks benchmarks.continuous does so. Runs that are there already are
not repeated; `--again` does so.

Their settings are those of RL Baselines3 Zoo: `hyperparams/sac.yml`, Pendulum-v1; `hyperparams/dqn.yml`, CartPole-v1;
`hyperparams/ppo.yml`, Pendulum-v1 and CartPole-v1, which `hyperparams/ppo_lstm.yml` repeats for PendulumNoVel-v1 and
CartPoleNoVel-v1. What those leave out is the library's default. They run in as many environments as there, and see the
last transition as every agent of ours does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sb3_contrib import RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

import envs
from benchmarks.runs import (
    EVALUATION,
    Curve,
    Key,
    Run,
    Wanted,
    command_line,
    complete,
    judge,
    load,
    machine,
    rounded,
    scores,
    train,
    write,
)
from evaluate import choose_contexts
from memagent.evaluation.intervals import interval
from memagent.evaluation.players import PredictPlayer
from memagent.run_config import RunConfig

RESULTS = Path(__file__).parent / "results" / "rivals.json"
TASK, STEPS = "Drift/CartPole-v0", 60_000

SAC_SETTINGS = {"learning_rate": 1e-3}
DQN_SETTINGS: dict[str, Any] = {
    "learning_rate": 2.3e-3,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "gamma": 0.99,
    "target_update_interval": 10,
    "train_freq": 256,
    "gradient_steps": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "policy_kwargs": {"net_arch": [256, 256]},
}
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
CARTPOLE_PPO_SETTINGS = {
    "batch_size": 256,
    "gae_lambda": 0.8,
    "gamma": 0.98,
    "n_epochs": 20,
    "ent_coef": 0.0,
    "learning_rate": LinearSchedule(1e-3, 0.0, 1.0),
    "clip_range": LinearSchedule(0.2, 0.0, 1.0),
}


@dataclass(frozen=True)
class Rival:
    """How a rival is made and what it sees."""

    kind: type[BaseAlgorithm]
    policy: str
    settings: Mapping[str, Any]
    num_envs: int = 1
    rollout: int | None = None
    """Steps between updates, of all environments together; None: the settings say it."""
    stack: int = 1
    """Observations that it sees at once, the last ones."""

    def make(self, env: VecEnv, seed: int) -> BaseAlgorithm:
        """The rival, before it is trained."""
        steps: dict[str, Any] = {"n_steps": self.rollout // env.num_envs} if self.rollout else {}
        return self.kind(self.policy, env, seed=seed, device="cpu", **self.settings, **steps)

    def sees(self, env: VecEnv) -> VecEnv:
        """The environments as the rival sees them."""
        return VecFrameStack(env, self.stack) if self.stack > 1 else env


RIVALS = {
    "SB3 SAC": Rival(SAC, "MlpPolicy", SAC_SETTINGS),
    "SB3 SAC, 8 frames": Rival(SAC, "MlpPolicy", SAC_SETTINGS, stack=8),
    "SB3 PPO": Rival(PPO, "MlpPolicy", PPO_SETTINGS, num_envs=4, rollout=4_096),
    "RecurrentPPO": Rival(RecurrentPPO, "MlpLstmPolicy", PPO_SETTINGS, num_envs=4, rollout=4_096),
}
"""For continuous actions."""
DISCRETE_RIVALS = {
    "SB3 DQN": Rival(DQN, "MlpPolicy", DQN_SETTINGS),
    "SB3 DQN, 8 frames": Rival(DQN, "MlpPolicy", DQN_SETTINGS, stack=8),
    "SB3 PPO": Rival(PPO, "MlpPolicy", CARTPOLE_PPO_SETTINGS, num_envs=8, rollout=256),
    "RecurrentPPO": Rival(RecurrentPPO, "MlpLstmPolicy", CARTPOLE_PPO_SETTINGS, num_envs=8, rollout=256),
}


def training(rival: Rival, task: str, seed: int) -> BaseAlgorithm:
    """A rival that is about to be trained."""
    apart = int(np.random.SeedSequence(seed).generate_state(1)[0])  # SB3 gives environment i seed + i
    return rival.make(rival.sees(envs.make_vec(task, rival.num_envs, seed)), apart)


@dataclass(frozen=True)
class Options(Wanted):
    """Train and judge what is missing."""

    seeds: int = 3
    """Seeds 0, 1, … of every agent."""


def main(options: Options) -> None:
    """Run what is missing."""
    runs: dict[Key, Run] = {(r["agent"], r["seed"]): r for r in load(RESULTS)["runs"]}
    wanted: list[Key] = [(name, seed) for seed in range(options.seeds) for name in DISCRETE_RIVALS]
    complete("benchmarks.rivals", wanted, runs, options.workers, save, options.again)


def run(name: str, seed: int) -> Run:
    """Train one rival and judge it."""
    rival = DISCRETE_RIVALS[name]
    agent, curve = training(rival, TASK, seed), Curve()
    trained = train(agent, STEPS, curve)
    return {
        "task": TASK,
        "agent": name,
        "seed": seed,
        **trained,
        "curve": curve.binned(),
        "contexts": judge(
            choose_contexts(RunConfig(env=TASK, evaluation=EVALUATION)),
            EVALUATION,
            lambda num_envs: rival.sees(envs.make_vec(TASK, num_envs, EVALUATION.seed)),
            lambda num_envs, _: PredictPlayer(agent, num_envs),
            adapts=False,
        ),
    }


def save(runs: list[Run]) -> None:
    """Write the results."""
    order = list(DISCRETE_RIVALS)
    runs = sorted(runs, key=lambda r: (order.index(r["agent"]), r["seed"]))
    summary = {
        name: {
            split: {
                "unadapted": rounded(interval(scores([r for r in runs if r["agent"] == name], split, False)))
            }
            for split in ("train", "held_out")
        }
        | {"seeds": sum(r["agent"] == name for r in runs)}
        for name in dict.fromkeys(r["agent"] for r in runs)
    }
    data = {"command": "python -m benchmarks.rivals", "machine": machine(), "summary": {TASK: summary}}
    write(RESULTS, data, runs)


if __name__ == "__main__":
    command_line(main, run, Options, __doc__)

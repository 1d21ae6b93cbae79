"""An actor: environments, and an agent that acts in them with weights it is sent, as one that learns here would.

It is a plain object; `memagent.distributed.actors` runs it in a process of Ray's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import VecEnv

from memagent.agents.base import lifetime_seed
from memagent.distributed.stretches import Outbox, Stretch
from memagent.progress import memory_statistics
from memagent.run_config import RunConfig
from memagent.runs import make_agent

TOLD = ("phase", "context_id", "context", "is_success")
"""What training shows of `info`, beside the statistics of episodes."""


class Environments(NamedTuple):
    """How environments are made and saved; functions that another process can import."""

    make: Callable[[RunConfig, int, int], VecEnv]
    """Of a configuration, so many, of a seed."""
    get_state: Callable[[VecEnv], dict[str, Any]]
    set_state: Callable[[VecEnv, Mapping[str, Any]], None]
    is_whole: Callable[[VecEnv], bool]


class ActorState(NamedTuple):
    """Where an actor stands between two stretches, for another one that goes on in its place."""

    env: dict[str, Any]
    acting: dict[str, NDArray]
    held: dict[str, NDArray]
    last_obs: NDArray[np.float32]


class Share(NamedTuple):
    """Which of a training's environments an actor has."""

    first: int
    num_envs: int


class Actor:
    """Acts in some environments of a training.

    Args:
        config: of the training.
        environments: how they are made.
        share: which ones.
        next_row, episodes: of each in the learner's replay, and how many it has ended, [e].
        seed: of what the actor draws itself; another one each time that it begins.
        state: where it goes on; None: in lifetimes that begin.
        begun: whether rows of these environments have been stored: then lifetimes that begin are others.
    """

    def __init__(
        self,
        config: RunConfig,
        environments: Environments,
        share: Share,
        next_row: NDArray[np.int64],
        episodes: NDArray[np.int64],
        seed: int,
        state: ActorState | None = None,
        begun: bool = False,
    ) -> None:
        torch.set_num_threads(config.threads)
        own = replace(config, num_envs=share.num_envs, seed=seed, device="cpu", replay=_small(config, share))
        self._config, self._environments = config, environments
        self.env = environments.make(own, share.num_envs, seed)
        self.agent = make_agent(own, self.env)
        self.env.seed(lifetime_seed(seed if begun else config.seed) + (0 if begun else share.first))
        self._recorder = Recorder()
        _, self._callback = self.agent._setup_learn(config.total_timesteps, self._recorder)
        self.agent._episodes = episodes.copy()
        self._outbox = Outbox(self.agent, next_row)
        self.agent.replay_buffer = self._outbox  # type: ignore[assignment]  # it has what acting uses
        self._version = -1
        if state is not None:
            self._go_on(state)

    def _go_on(self, state: ActorState) -> None:
        self._environments.set_state(self.env, state.env)
        if self._environments.is_whole(self.env):
            self.agent.acting.load_state_dict(state.acting)
            self.agent.held.load_state_dict(state.held)
            self.agent._last_obs = state.last_obs.copy()
        else:
            obs = self.env.reset()
            assert isinstance(obs, np.ndarray)
            self.agent._last_obs = obs

    def collect(
        self, weights: Mapping[str, NDArray], version: int, num_timesteps: int, steps: int
    ) -> tuple[Stretch, ActorState]:
        """Act for so many steps of each environment.

        Args:
            weights: of the policy, by name.
            version: which they are; they are read where it is another one than last time.
            num_timesteps: environment steps of the whole training so far, which exploration follows.
            steps: T.

        Returns:
            The rows, and where the actor stands after them.
        """
        agent = self.agent
        if version != self._version:
            agent.policy.load_state_dict({name: torch.from_numpy(x) for name, x in weights.items()})
            self._version = version
        agent.num_timesteps = num_timesteps
        agent._update_current_progress_remaining(num_timesteps, self._config.total_timesteps)
        agent.collect_rollouts(
            self.env,
            self._callback,
            TrainFreq(steps, TrainFrequencyUnit.STEP),
            replay_buffer=agent.replay_buffer,
            learning_starts=agent.learning_starts,
        )
        figures = agent.acting.figures()
        figures |= {f"memory/{name}": value for name, value in memory_statistics(agent.acting.state).items()}
        return self._outbox.take(self._recorder.take(), figures), self._state()

    def _state(self) -> ActorState:
        agent = self.agent
        assert isinstance(agent._last_obs, np.ndarray)
        return ActorState(
            self._environments.get_state(self.env),
            agent.acting.state_dict(),
            agent.held.state_dict(),
            agent._last_obs,
        )


class Recorder(BaseCallback):
    """Keeps what the environments tell of each step that they have not told before."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[int, dict[str, Any]] = {}
        self._told: list[dict[int, dict[str, Any]]] = []

    def _on_step(self) -> bool:
        new = {}
        for env, info in enumerate(self.locals["infos"]):
            told = {name: info[name] for name in TOLD if name in info}
            if "episode" in info:
                new[env] = told | {"episode": info["episode"]}
            elif told != self._before.get(env, {}):
                new[env] = told
            self._before[env] = told
        self._told.append(new)
        return True

    def take(self) -> list[dict[int, dict[str, Any]]]:
        """What was told of the steps since the last call."""
        told, self._told = self._told, []
        return told


def _small(config: RunConfig, share: Share) -> Any:
    """The settings of a replay that an actor's agent makes and does not use."""
    window = config.replay.window + config.replay.stride
    return replace(config.replay, capacity=window * share.num_envs)

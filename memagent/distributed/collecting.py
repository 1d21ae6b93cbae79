"""One training over several processes or machines: its experience is collected by actors for as long as it learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from memagent.agents import MemoryAlgorithm
from memagent.distributed.actor import Environments
from memagent.distributed.cluster import connected, refuse_unmet
from memagent.distributed.elsewhere import Elsewhere
from memagent.run_config import RunConfig
from memagent.runs import RunError


def learner_env(config: RunConfig, environments: Environments) -> VecEnv:
    """The environments of a training for whoever learns: its own, or those that its actors step."""
    if not config.actors:
        return environments.make(config, config.num_envs, config.seed)
    return Elsewhere(environments.make(config, 1, config.seed), config.num_envs)


@contextmanager
def joined(config: RunConfig, address: str | None) -> Iterator[None]:
    """Be connected to the cluster that has the actors of a training; nothing happens where it has none.

    Args:
        config: of the training.
        address: see `connected`; None: a cluster of this machine.

    Raises:
        RunError: there is no such cluster, or no machine of it has room for an actor.
    """
    if not config.actors:
        yield
        return
    with connected(address or "local", num_cpus=config.actors * config.threads):
        refuse_unmet({"CPU": float(config.threads)}, "An actor")
        yield


@contextmanager
def collecting(
    agent: MemoryAlgorithm,
    config: RunConfig,
    environments: Environments,
    saved: Mapping[str, Any] | None,
) -> Iterator[None]:
    """Let actors collect an agent's experience, on the cluster that is `joined`; nothing happens without actors.

    Args:
        agent: the learner, with the environments of `learner_env`.
        config: of the training.
        environments: how they are made.
        saved: what `env_state` gave for the checkpoint that the agent is of; None: the training begins.

    Raises:
        RunError: the checkpoint is of other actors.
    """
    if not config.actors:
        yield
        return
    states = None if saved is None else saved.get("actors")
    if saved is not None and (not isinstance(states, list) or len(states) != config.actors):
        raise RunError(
            f"The checkpoint is not of {config.actors} actors; go on with as many as it was written with."
        )
    from memagent.distributed.actors import Actors  # imports Ray

    actors = Actors(agent, config, environments, states)
    agent.collector = actors
    try:
        yield
    finally:
        agent.collector = None
        actors.close()


def env_state(agent: MemoryAlgorithm, environments: Environments) -> dict[str, Any]:
    """The state of the environments that an agent learns in, for a checkpoint."""
    if agent.collector is not None:
        return agent.collector.get_state()
    env = agent.get_env()
    assert env is not None
    return environments.get_state(env)


def is_whole(agent: MemoryAlgorithm, environments: Environments) -> bool:
    """Whether `env_state` has all of the environments; see `envs.is_whole`."""
    env = agent.get_env()
    assert env is not None
    return environments.is_whole(env.one if isinstance(env, Elsewhere) else env)

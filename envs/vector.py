"""Many environments at once, for Stable-Baselines3 and for Gymnasium, each with a clock and a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from envs.batched.wrapper_stack import read_stack
from envs.catalogue import CATALOGUE, PROBES, canonical_id, register
from envs.plants.mujoco import without_deprecations
from envs.wrappers import FlatActions, TransitionObservation
from envs.wrappers.flat_actions import MOST_COMBINATIONS, combinations

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

VectorAPI = Literal["sb3", "gymnasium"]
Maker = Callable[[], gym.Env]
Wrapper = Callable[[gym.Env], gym.Env]
NUMBERS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
"""Spaces of a fixed count of numbers."""


@overload
def make_vec(
    id: str, num_envs: int = 1, seed: int | None = None, api: Literal["sb3"] = "sb3", **options: Any
) -> VecEnv: ...


@overload
def make_vec(
    id: str, num_envs: int = 1, seed: int | None = None, *, api: Literal["gymnasium"], **options: Any
) -> gym.vector.VectorEnv: ...


def make_vec(
    id: str,  # noqa: A002 Gymnasium's name for it
    num_envs: int = 1,
    seed: int | None = None,
    api: VectorAPI = "sb3",
    *,
    subprocess: bool = False,
    batched: bool | None = None,
    shared_clock: bool = False,
    transition_observation: bool = True,
    wrappers: Sequence[Wrapper] = (),
    time_limit: int | None = None,
    **kwargs: Any,
) -> VecEnv | gym.vector.VectorEnv:
    """A vector environment of any Gymnasium id, drifting or not.

    The VecEnv and the VectorEnv of a seed run the same lifetimes. Environment i has a seed of its own, drawn from
    (seed, i), so that runs with neighbouring seeds share nothing; a seed given later to `reset` or `VecEnv.seed` starts
    new lifetimes, with seed + i, as everywhere in Gymnasium and SB3.

    Args:
        id: the Gymnasium id.
        num_envs: how many environments.
        seed: of the lifetimes; None for fresh ones.
        api: "sb3" for a VecEnv with monitored episodes, "gymnasium" for a VectorEnv.
        batched: whether all environments step in one compiled call, with the same results: None where they
            can (tasks that declare batched dynamics, with the drifts that these and BATCHED_CHANNELS of
            `envs.batched.wrapper_stack` know), False never, True or an error.
        shared_clock: whether all environments of a `Drift/` id have the same contexts due at the same lifetime
            steps, in different episodes (each takes a change at the end of its own, unless `change_at="step"`);
            else each has a lifetime of its own.
        subprocess: one process for each environment; worth it for slow environments only.
        transition_observation: whether observations show the last transition; of ids outside the catalogue, those
            that observe a vector and act with a vector or one number, once they are made flat.
        wrappers: put around an environment outside the catalogue, in turn, before it is made flat.
        time_limit: steps after which an episode is cut where the environment has no time limit; None: never.
        kwargs: for gym.make.

    Of environments outside the catalogue, observations that are numbers, but no images, are flattened to a vector, and
    MultiDiscrete and MultiBinary actions of at most 1,024 combinations to one Discrete.
    """
    id, num_envs = canonical_id(id), index(num_envs)  # noqa: A001
    if num_envs < 1:
        raise ValueError(f"num_envs={num_envs}: expected at least 1 environment.")
    if api not in get_args(VectorAPI):
        raise ValueError(f'api={api!r}: expected "sb3" or "gymnasium".')
    drawn: list[int] | None = None
    if seed is not None:
        drawn = np.random.SeedSequence(seed).generate_state(num_envs).tolist()
    seeds: Sequence[int | None] = drawn or [None] * num_envs
    if shared_clock and id not in CATALOGUE:
        raise ValueError(f"{id} has no clock to share: only {', '.join(CATALOGUE)} drift.")
    if shared_clock:
        kwargs = {
            **kwargs,
            "lifetime": int(np.random.SeedSequence(seed, spawn_key=(0,)).generate_state(1)[0]),
        }
    make = partial(
        make_env,
        id,
        transition_observation=transition_observation,
        wrappers=wrappers,
        time_limit=time_limit,
        kwargs=kwargs,
    )
    if batched is not False and not subprocess:
        single = make(seeds[0])
        vec = _batched(single, num_envs, drawn, api)
        if vec is not None:
            return vec
        single.close()
    if batched:
        raise ValueError(f"{id} has no batched form with these settings: leave batched=True out.")
    makers: list[Maker] = [partial(make, s) for s in seeds]
    if api == "sb3":
        return _sb3(makers, subprocess)
    return gym.vector.AsyncVectorEnv(makers) if subprocess else gym.vector.SyncVectorEnv(makers)


def _batched(
    env: gym.Env, num_envs: int, seeds: list[int] | None, api: VectorAPI
) -> VecEnv | gym.vector.VectorEnv | None:
    """The batched form of environments like `env`, None where there is none."""
    stack = read_stack(env)
    if stack is None:
        return None
    if api == "sb3":
        from envs.batched.sb3_vec_env import BatchedVecEnv

        return BatchedVecEnv(stack, num_envs, seeds)
    from envs.batched.gymnasium_vector_env import BatchedVectorEnv

    return BatchedVectorEnv(stack, num_envs, seeds)


def make_env(
    name: str,
    seed: int | None,
    *,
    transition_observation: bool,
    wrappers: Sequence[Wrapper],
    time_limit: int | None,
    kwargs: dict[str, Any],
) -> gym.Env:
    """One environment, seeded by a first reset, so that the next one without a seed goes on in this lifetime."""
    register()
    if name in CATALOGUE or name in PROBES:
        if wrappers:
            raise ValueError(f"{name} takes no wrappers: they would lie outside TransitionObservation.")
        env = gym.make(name, transition_observation=transition_observation, **kwargs)
    else:
        spec = gym.registry.get(name)  # none yet of `module:ID`, whose module gym.make imports
        with without_deprecations(spec and spec.entry_point):
            env = gym.make(name, **kwargs)
        if time_limit is not None and (env.spec is None or env.spec.max_episode_steps is None):
            env = gym.wrappers.TimeLimit(env, time_limit)
        for wrapper in wrappers:
            env = wrapper(env)
        env = flat(env)
        if transition_observation and _showable(env):
            env = TransitionObservation(env)
    if seed is not None:
        env.reset(seed=seed)
        env.action_space.seed(seed)
    return env


def flat(env: gym.Env) -> gym.Env:
    """The environment with a vector to observe and one action to take, where it can be had."""
    if not _is_vector(env.observation_space) and _flattens(env.observation_space):
        env = gym.wrappers.FlattenObservation(env)
    count = combinations(env.action_space)
    return FlatActions(env) if count is not None and count <= MOST_COMBINATIONS else env


def _is_vector(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 1


def _flattens(space: spaces.Space) -> bool:
    """Whether all of it is numbers of a fixed count, and none of it an image."""
    return all(isinstance(leaf, NUMBERS) and not _is_image(leaf) for leaf in _leaves(space))


def _leaves(space: spaces.Space) -> Iterator[spaces.Space]:
    """The spaces that a space consists of."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        for part in space.values() if isinstance(space, spaces.Dict) else space:
            yield from _leaves(part)
    else:
        yield space


def _is_image(space: spaces.Space) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8


def _showable(env: gym.Env) -> bool:
    """Whether transitions can be appended: vectors to observe (not images), vectors or one number to act."""
    return _is_vector(env.observation_space) and isinstance(env.action_space, spaces.Box | spaces.Discrete)


def _sb3(makers: list[Maker], subprocess: bool) -> VecEnv:
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    monitored: list[Maker] = [partial(_monitored, maker) for maker in makers]
    return SubprocVecEnv(monitored) if subprocess else DummyVecEnv(monitored)


def _monitored(maker: Maker) -> gym.Env:
    from stable_baselines3.common.monitor import Monitor

    env = maker()
    if not all(isinstance(leaf, NUMBERS) for leaf in _leaves(env.observation_space)):
        raise ValueError(
            f"{env.unwrapped} shows {env.observation_space}, expected numbers: leave texts, graphs and sequences out "
            "by gymnasium.wrappers.FilterObservation, or make numbers of them by another wrapper."
        )
    return Monitor(env)

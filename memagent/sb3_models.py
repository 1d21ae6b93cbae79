"""Saved models of Stable-Baselines3 and sb3-contrib: which there are, how one is read back, what it saw in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from memagent.agents.base import check_device
from memagent.agents.loading import is_pickled
from memagent.archive import reason, shortened
from memagent.run_config import Words, Wrappers
from memagent.runs import RunError

Algo = Literal["ppo", "a2c", "dqn", "sac", "td3", "ddpg", "recurrent_ppo", "tqc", "qrdqn", "trpo", "ars"]
CLASSES: dict[Algo, tuple[str, str]] = {
    "ppo": ("stable_baselines3", "PPO"),
    "a2c": ("stable_baselines3", "A2C"),
    "dqn": ("stable_baselines3", "DQN"),
    "sac": ("stable_baselines3", "SAC"),
    "td3": ("stable_baselines3", "TD3"),
    "ddpg": ("stable_baselines3", "DDPG"),
    "recurrent_ppo": ("sb3_contrib", "RecurrentPPO"),
    "tqc": ("sb3_contrib", "TQC"),
    "qrdqn": ("sb3_contrib", "QRDQN"),
    "trpo": ("sb3_contrib", "TRPO"),
    "ars": ("sb3_contrib", "ARS"),
}
"""The package and the class of every algorithm."""


class MakeEnv(Protocol):
    """Makes environments of which observations show the last transition, or not."""

    def __call__(self, *, num_envs: int, transition_observation: bool) -> VecEnv:
        """So many environments."""


@dataclass(frozen=True)
class ModelOptions:
    """A model of Stable-Baselines3 or sb3-contrib, in place of run folders."""

    model: Path | None = None
    """The model's zip, as its `save` wrote it. Reading it runs code that is in it: needs --trust."""
    algo: Algo | None = None
    """The algorithm that saved the model; those from recurrent_ppo on are of sb3-contrib."""
    env: str | None = None
    """Gymnasium id of the environment that it plays, drifting or not. "module:Id-v0" imports the module first."""
    env_kwargs: Words = field(default_factory=dict)
    """Arguments for gymnasium.make: a JSON object, or KEY=VALUE with values of JSON or plain text."""
    wrapper: Wrappers = field(default_factory=dict)
    """Wrappers of an environment that does not drift, from the inside out: "module:Class", or "module:Class={...}"."""
    num_stack: int = 1
    """Observations that the model sees at once, the last ones, as SB3's VecFrameStack shows them."""
    vec_normalize: Path | None = None
    """Statistics of SB3's VecNormalize, as its `save` wrote them, where the model was trained under one. Reading them
    runs code that is in the file, too."""


def load_model(path: Path, algo: Algo, device: str, *, trust: bool) -> BaseAlgorithm:
    """The model in a zip of SB3's `save`, to act with; it cannot go on learning: its replay is left out.

    Args:
        path: of the zip.
        algo: what saved it.
        device: where it acts.
        trust: whether the code in the file, which is pickled, may run.

    Raises:
        RunError: it is not there, is no such model, is not trusted, or its algorithm is not installed.
    """
    try:
        if not path.is_file():
            raise RunError(f"There is no model {path}; give the zip that the model's `save` wrote.")
        pickled = is_pickled(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if not pickled:
        raise RunError(
            f"{path} is no model of Stable-Baselines3: expected a whole ZIP archive with data and policy.pth, as its "
            "`save` writes it; an agent of memagent is judged by its run folder."
        )
    if not trust:
        raise RunError(
            f"{path} is pickled, by Stable-Baselines3, and unpickling runs whatever code it holds; if you trust who "
            "made it, add --trust."
        )
    kind = algorithm_class(algo)
    try:
        check_device(device)
    except ValueError as error:
        raise RunError(str(error)) from error
    try:
        # Without the replay, which an algorithm that has one would make anew, as large as in its training.
        return kind.load(path, device=device, custom_objects={"buffer_size": 1})
    except Exception as error:  # of whatever the file holds
        raise RunError(
            f"{path} was not loaded as {algo}: {type(error).__name__}: {reason(error).rstrip('.')}; name the algorithm "
            "that saved it by --algo."
        ) from error


def algorithm_class(algo: Algo) -> type[BaseAlgorithm]:
    """The class of an algorithm.

    Raises:
        RunError: its package is not installed.
    """
    package, name = CLASSES[algo]
    try:
        return getattr(import_module(package), name)
    except ImportError as error:
        raise RunError(
            f"{algo} is an algorithm of sb3-contrib, which is not installed: pip install sb3-contrib."
        ) from error


def as_trained(model: BaseAlgorithm, make_env: MakeEnv, options: ModelOptions) -> Callable[[int], VecEnv]:
    """What makes environments as a model saw them in training: with the last transition shown, or bare.

    Args:
        model: whose spaces decide.
        make_env: of the environments.
        options: how observations are normalised and stacked, in this order; rewards stay as they are.

    Raises:
        RunError: neither has the model's spaces, `num_stack` is below 1, or the statistics cannot be used.
    """
    if options.num_stack < 1:
        raise RunError(f"num_stack is {options.num_stack}; give 1 or more.")

    def stacked(env: VecEnv) -> VecEnv:
        return VecFrameStack(env, options.num_stack) if options.num_stack > 1 else env

    def make(num_envs: int, shown: bool) -> VecEnv:
        env = make_env(num_envs=num_envs, transition_observation=shown)
        return stacked(env if options.vec_normalize is None else normalised(env, options.vec_normalize))

    found = []
    for shown in (True, False):
        env = stacked(make_env(num_envs=1, transition_observation=shown))
        env.close()
        if (env.observation_space, env.action_space) == (model.observation_space, model.action_space):
            return partial(make, shown=shown)
        found.append(env)
    with_last, bare = (_words(env.observation_space) for env in found)
    raise RunError(
        f"The model was trained to see {_words(model.observation_space)} and to act in {_words(model.action_space)}; "
        f"{options.env} shows {bare}, or {with_last} with the last transition, and takes {_words(env.action_space)}: "
        "give the environment that the model was trained in, with its --env-kwargs, --wrapper and --num-stack; what is "
        "shown here are vectors of numbers."
    )


def normalised(env: VecEnv, statistics: Path) -> VecNormalize:
    """The environments with observations as a VecNormalize showed them at the end of training; rewards are native.

    Raises:
        RunError: the file holds no such statistics, or those of other observations.
    """
    try:
        wrapped = VecNormalize.load(str(statistics), env)
    except Exception as error:  # of whatever the file holds
        raise RunError(
            f"{statistics} holds no statistics of such observations: {type(error).__name__}: "
            f"{reason(error).rstrip('.')}; give the file that the `save` of the model's VecNormalize wrote, "
            "of single observations where they are stacked."
        ) from error
    wrapped.training, wrapped.norm_reward = False, False
    return wrapped


def _words(space: spaces.Space) -> str:
    """A space as a message names it: of a Box the outermost bounds."""
    if isinstance(space, spaces.Box):
        return f"Box({space.low.min():g}, {space.high.max():g}, {space.shape}, {space.dtype})"
    return shortened(space, quoted=False)

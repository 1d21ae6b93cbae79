"""An agent of what a file holds, checked before it is used.

Settings come first: with them a policy is described, of shapes that take no memory, and the file's tensors have to be
its. Only then is anything of their sizes made.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import check_for_correct_spaces, get_system_info
from torch import Tensor

from memagent.agents.config import LearnerConfig
from memagent.agents.described import DescribedLearner
from memagent.agents.saving import COUNTERS, EPISODE, SKIPS, Where, bytes_of, name_of
from memagent.agents.words import in_configs
from memagent.archive import NOT_A_ZIP, ArchiveError, member_names, parse_archive, reason, shortened
from memagent.fields import (
    check_tensors,
    entry,
    generator_of,
    layout_of,
    moments_of,
    numbers_of,
    space_of,
)
from memagent.policies import MemoryPolicy
from memagent.replay import ReplayConfig
from memagent.replay.streams import machine_memory
from memagent.sb3_names import ways
from memagent.settings import as_config, build

AgentT = TypeVar("AgentT", bound=DescribedLearner)
PLAIN: dict[str, Any] = {"seed": int | None, "verbose": int, "stats_window_size": int}
RUN = ("episodes", "last_obs", "last_episode_starts")


def load_agent(
    cls: type[AgentT],
    path: Where,
    env: GymEnv | None,
    device: torch.device | str,
    given: Mapping[str, Any],
    *,
    print_system_info: bool = False,
    force_reset: bool = True,
) -> AgentT:
    """The agent that a file holds, with the settings `given` in place of the file's.

    Raises:
        ArchiveError: the file is no such agent's, or what it holds does not fit together or to what is given.
    """
    try:
        tensors, data = _read(path)
        if print_system_info:
            _show(entry(data, "system", dict))
        agent = _unfilled(cls, env, device, data, given)
        described = _described(agent)
        weights, moments = _checked(tensors, described)
        _restore_run(agent, tensors, data, last_obs=env is None or not force_reset)
        generator = generator_of(entry(data, "generator", dict))
        agent._setup_model()
    except ValueError as error:  # an ArchiveError, or a setting or space that an agent refuses
        raise ArchiveError(f"{name_of(path)} was not loaded: {reason(error)}") from error
    if given.get("seed") is None:
        agent.generator = generator
    anew = agent.begins_anew(given, data["configs"])
    weights |= {name: value for name, value in agent.policy.state_dict().items() if name in anew}
    _fill(agent.policy, weights, {name: held for name, held in moments.items() if name not in anew})
    return agent


def load_weights(agent: DescribedLearner, path: Where) -> None:
    """Put the weights and moments that a file holds into an agent of the same sizes.

    Raises:
        ArchiveError: the file is no such agent's, or has other sizes.
    """
    try:
        weights, moments = _checked(_read(path)[0], agent.policy)
    except ArchiveError as error:
        raise ArchiveError(f"{name_of(path)} was not loaded: {error}") from error
    _fill(agent.policy, weights, moments)


def is_pickled(path: Where) -> bool:
    """Whether a file is an archive as SB3 writes it, and memagent did before schema 1; a file object is rewound."""
    if isinstance(path, str | Path):
        return _pickled(bytes_of(path))
    start = path.tell()
    pickled = _pickled(path.read())
    path.seek(start)
    return pickled


def _pickled(file: bytes) -> bool:
    return {"data", "policy.pth"} <= set(member_names(file))


def _read(path: Where) -> tuple[dict[str, Tensor], dict[str, Any]]:
    file = bytes_of(path)
    if _pickled(file):
        raise ArchiveError(
            f"it is pickled, by Stable-Baselines3 {_sb3_version(file)} or by memagent 0.1.0 on it, and unpickling runs "
            "whatever code it holds; if you trust who made it, load it with trust=True and save it anew."
        )
    return parse_archive(file)


def _sb3_version(file: bytes) -> str:
    """The version that a pickled archive names, if it is one."""
    name = "_stable_baselines3_version"
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        if name not in archive.namelist() or archive.getinfo(name).file_size > 20:
            return "of an unknown version"
        try:
            found = archive.read(name).decode("ascii", "replace").strip()
        except (zipfile.BadZipFile, zlib.error, *NOT_A_ZIP):
            return "of an unknown version"
    return found if re.fullmatch(r"[0-9a-z.+]+", found) else "of an unknown version"


def _unfilled(
    cls: type[AgentT],
    env: GymEnv | None,
    device: torch.device | str,
    data: dict[str, Any],
    given: Mapping[str, Any],
) -> AgentT:
    """An agent of the file's settings and spaces, without networks."""
    if (saved := entry(data, "algorithm", str)) != cls.__name__:
        raise ArchiveError(
            f"it holds a {shortened(saved)}, expected a {cls.__name__}; call the other's load."
        )
    settings = _settings(cls, data, given)
    observation_space, action_space = (
        space_of(entry(data, name, dict)) for name in ("observation_space", "action_space")
    )
    cls.check_spaces(observation_space, action_space)
    if env is not None:
        env = cls._wrap_env(env, settings["verbose"])
        check_for_correct_spaces(env, observation_space, action_space)
    num_envs = entry(data, "n_envs", int) if env is None else env.num_envs
    rhythm: dict[str, Any] = {
        word: settings.pop(word) for word in ("train_freq", "gradient_steps") if word in settings
    }
    if rhythm:  # counts the environments, of which the constructor knows none where there is no env
        learner = as_config("learner", LearnerConfig, settings["learner"])
        settings["learner"], _ = in_configs(rhythm, learner, ReplayConfig(), num_envs)
    settings |= {"env": env, "device": device, "_init_setup_model": False}
    agent = cls(**settings)
    agent.observation_space, agent.action_space = observation_space, action_space
    assert observation_space.shape is not None
    layout = layout_of(data, observation_space.shape[0])
    if env is None:
        agent.n_envs = num_envs
    elif agent.transition_layout not in (None, layout):
        raise ArchiveError(
            f"its observations are laid out as {layout}, the environment's as {agent.transition_layout}; give the "
            "environment that it learned in."
        )
    agent.transition_layout = layout
    return agent


def _settings(cls: type[AgentT], data: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor's arguments: the file's, and those given in their place."""
    known = {*cls.configs, *cls.words, *PLAIN, "tensorboard_log", "policy_kwargs", "policy_class"}
    if unknown := given.keys() - known:
        raise ArchiveError(
            f"{cls.__name__}.load was given {', '.join(sorted(unknown))}, expected some of "
            f"{', '.join(sorted(known))}; {ways(sorted(unknown), cls.configs)}."
        )
    configs, plain = entry(data, "configs", dict), entry(data, "plain", dict)
    settings: dict[str, Any] = {
        name: build(kind, entry(configs, name, dict)) for name, (_, kind) in cls.configs.items()
    }
    settings |= {name: entry(plain, name, kind) for name, kind in PLAIN.items()}
    settings["policy_kwargs"] = entry(data, "policy_kwargs", dict)
    if given.get("policy_kwargs", settings["policy_kwargs"]) != settings["policy_kwargs"]:
        raise ArchiveError(
            f"its policy_kwargs are {shortened(settings['policy_kwargs'])}, expected those given; leave them out."
        )
    settings |= {name: value for name, value in given.items() if name != "policy_class"}
    policy = entry(data, "policy", str)
    settings["policy"] = given.get("policy_class", cls.policy_aliases.get(policy))
    if settings["policy"] is None:
        raise ArchiveError(
            f"its policy is {shortened(policy)}, and no class is imported for a file's sake; give "
            'custom_objects={"policy_class": …}.'
        )
    return settings


def _described(agent: DescribedLearner) -> MemoryPolicy:
    """The policy of an agent's settings, of shapes without memory; what the agent needs would fit in this machine."""
    try:
        with torch.device("meta"):
            policy = agent.make_policy()
            state = policy.initial_state(1)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise ArchiveError(f"no policy has its settings ({reason(error)}).") from error
    rows = agent.replay_config.capacity // agent.replay_config.stride + 4 * agent.n_envs
    row, adapt = sum(policy.step_dims) + 8, agent.adapt_config
    kept = agent.n_envs * adapt.support * (adapt.steps_ahead + adapt.history)
    needed = 4 * (rows * sum(part.numel() for part in state) + (agent.replay_config.capacity + kept) * row)
    there = machine_memory()
    if agent.n_envs < 1 or needed > there:
        raise ArchiveError(
            f"its settings ask for {agent.n_envs} environments and {needed / 1e9:.1f} GB, expected 1 or more and at "
            f"most the {there / 1e9:.1f} GB of this machine."
        )
    return policy


def _checked(
    tensors: Mapping[str, Tensor], policy: MemoryPolicy
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The weights and the optimiser's moments for a policy, none missing and none too many."""
    parts: dict[str, dict[str, Tensor]] = {"policy": {}, "optimizer": {}, "run": {}}
    for full, tensor in tensors.items():
        part, _, name = full.partition("/")
        if part not in parts:
            raise ArchiveError(f"it has an unknown tensor {shortened(full)}; take another copy.")
        parts[part][name] = tensor
    check_tensors(parts["policy"], policy.state_dict(), "policy/")
    return parts["policy"], moments_of(parts["optimizer"], dict(policy.named_parameters()))


def _restore_run(
    agent: DescribedLearner, tensors: Mapping[str, Tensor], data: dict[str, Any], *, last_obs: bool
) -> None:
    """Counters, statistics of episodes and the last observations; those of each environment if their number is kept."""
    counters = dict.fromkeys(SKIPS, 0) | entry(data, "counters", dict)  # files without them counted none
    for name in (*COUNTERS, *SKIPS):
        if (count := entry(counters, name, int)) < 0:
            raise ArchiveError(f"its {name} is {count}, expected 0 or more.")
        setattr(agent, name, count)
    agent._current_progress_remaining = entry(data, "progress_remaining", float)
    episodes = numbers_of(entry(data, "episodes", list), (*EPISODE, "t"))
    agent.ep_info_buffer = deque(episodes, maxlen=agent._stats_window_size)
    successes = [entry({"success": value}, "success", float) for value in entry(data, "successes", list)]
    agent.ep_success_buffer = deque(successes, maxlen=agent._stats_window_size)
    envs, observation = entry(data, "n_envs", int), agent.observation_space.shape
    assert observation is not None
    if unknown := {n for n in tensors if n.startswith("run/")} - {f"run/{n}" for n in RUN}:
        raise ArchiveError(f"it has an unknown tensor {shortened(min(unknown))}; take another copy.")
    by_env = _run_array(tensors, "episodes", (envs,))
    if envs == agent.n_envs:
        agent._episodes = by_env.astype(np.int64)
    if last_obs and "run/last_obs" in tensors:
        agent._last_obs = _run_array(tensors, "last_obs", (envs, *observation))
        agent._last_episode_starts = _run_array(tensors, "last_episode_starts", (envs,))


def _run_array(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the run, of the shape that the file's other fields give it."""
    found = tensors.get(f"run/{name}")
    if found is None or tuple(found.shape) != shape:
        raise ArchiveError(f"it has no tensor run/{name} of shape {shape}; take another copy.")
    return found.numpy().copy()


def _fill(
    policy: MemoryPolicy, weights: Mapping[str, Tensor], moments: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put checked weights and moments into a policy."""
    policy.load_state_dict(weights)
    policy.optimizer.state.clear()
    parameters = dict(policy.named_parameters())
    for name, held in moments.items():
        at = parameters[name]
        policy.optimizer.state[at] = {m: value.to(at.device, copy=True) for m, value in held.items()}


def _show(system: Mapping[str, Any]) -> None:
    """What SB3's `print_system_info` shows: the versions here, and those that the file was written with."""
    print("== CURRENT SYSTEM INFO ==")  # noqa: T201 asked for
    get_system_info()
    print("== SAVED MODEL SYSTEM INFO ==")  # noqa: T201
    for name, value in system.items():
        print(f"- {shortened(name, quoted=False)}: {shortened(value, quoted=False)}")  # noqa: T201

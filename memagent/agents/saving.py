"""What an agent consists of, as tensors and JSON.

    policy/…     every weight and buffer: memory, heads, target heads, dynamics model, inner rates, context scale
    optimizer/…  Adam's moments and steps, by parameter
    run/…        the last observations, the episodes of each environment
    data.json    algorithm, settings, spaces, counters, random generator

The optimiser's rates and all else follow from the settings. Paths are not in it: a file does not say where to write.
"""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.utils import get_system_info
from torch import Tensor

from memagent.agents.described import DescribedLearner
from memagent.archive import ArchiveError, format_archive
from memagent.fields import MOMENTS, generator_as_json, plain_numbers, space_as_json
from memagent.files import write_bytes

Where = str | Path | io.BufferedIOBase
COUNTERS = ("num_timesteps", "_total_timesteps", "_episode_num", "_n_updates")
SKIPS = ("skipped_updates", "skipped_in_a_row")
EPISODE = ("r", "l")  # of what SB3's Monitor says of an episode: return and length, not what a clock said


def save_agent(agent: DescribedLearner, path: Where) -> None:
    """Write an agent; a path without suffix gets .zip, its folder is made, and the file is replaced as a whole.

    Raises:
        ArchiveError: something of the agent cannot be said without pickle, or its numbers are not finite.
    """
    try:
        written = format_archive(agent_tensors(agent), agent_data(agent))
    except ArchiveError as error:
        raise ArchiveError(f"{name_of(path)} was not written: {error}") from error
    if isinstance(path, str | Path):
        write_bytes(place_of(path, ".zip"), written)
    else:
        path.write(written)


def agent_tensors(agent: DescribedLearner) -> dict[str, Tensor]:
    """Every tensor of an agent, by its name in the file."""
    policy = agent.policy
    tensors = {f"policy/{name}": value for name, value in policy.state_dict().items()}
    if type(policy.optimizer) is not torch.optim.Adam:
        raise ArchiveError(f"the optimiser is {type(policy.optimizer).__name__}, expected Adam.")
    for name, parameter in policy.named_parameters():
        for moment, value in policy.optimizer.state.get(parameter, {}).items():
            if moment not in MOMENTS:
                raise ArchiveError(f"the optimiser keeps {moment} of {name}, expected {', '.join(MOMENTS)}.")
            tensors[f"optimizer/{name}/{moment}"] = value
    tensors["run/episodes"] = torch.from_numpy(agent._episodes)
    if isinstance(last := agent._last_obs, np.ndarray) and np.isfinite(last).all():
        tensors["run/last_obs"] = torch.from_numpy(last)
        tensors["run/last_episode_starts"] = torch.from_numpy(np.asarray(agent._last_episode_starts))
    return tensors


def agent_data(agent: DescribedLearner) -> dict[str, Any]:
    """All that is no tensor, as JSON's types."""
    cls, policy = type(agent), agent.policy_class
    aliases = {known: alias for alias, known in cls.policy_aliases.items()}
    system = get_system_info(print_info=False)[0]
    return {
        "algorithm": cls.__name__,
        "policy": aliases.get(policy, f"{policy.__module__}.{policy.__qualname__}"),
        "configs": {name: asdict(getattr(agent, at)) for name, (at, _) in cls.configs.items()},
        "policy_kwargs": agent.policy_kwargs,
        "plain": {
            "seed": None if agent.seed is None else int(agent.seed),
            "verbose": agent.verbose,
            "stats_window_size": agent._stats_window_size,
        },
        "observation_space": space_as_json(agent.observation_space),
        "action_space": space_as_json(agent.action_space),
        "transition_layout": agent.transition_layout,
        "n_envs": agent.n_envs,
        "counters": {name: int(getattr(agent, name)) for name in (*COUNTERS, *SKIPS)},
        "progress_remaining": float(agent._current_progress_remaining),
        "generator": generator_as_json(agent.generator),
        "episodes": [plain_numbers(episode, EPISODE) for episode in agent.ep_info_buffer or ()],
        "successes": [float(success) for success in agent.ep_success_buffer or ()],
        "system": {name: str(value) for name, value in system.items() if name != "OS"},
    }


def place_of(path: str | Path, suffix: str) -> Path:
    """Where a path says to write: with the suffix, unless it has one of its own; the folder is made."""
    file = Path(path) if Path(path).suffix else Path(f"{path}{suffix}")
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def found_at(path: str | Path, suffix: str) -> Path:
    """What a path says to read: a path that is not there may lack the suffix."""
    file = Path(path)
    return file if file.exists() else Path(f"{path}{suffix}")


def name_of(path: Where) -> str:
    """How a message names a file."""
    return str(path) if isinstance(path, str | Path) else "The file"


def bytes_of(path: Where) -> bytes:
    """A file as a whole; a path that is not there may lack its .zip."""
    return found_at(path, ".zip").read_bytes() if isinstance(path, str | Path) else path.read()

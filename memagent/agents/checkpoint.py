"""All that a training goes on with, as a folder without pickle: written whole or not at all, checked before it is used.

model.zip             the agent, as `save` writes it
training.safetensors  the replay, and what is carried while acting, by name
training.json         the rest, and the SHA-256 of the other two and of itself
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from memagent import randomness
from memagent.agents.described import DescribedLearner
from memagent.agents.loading import load_agent
from memagent.agents.saving import agent_data, agent_tensors
from memagent.archive import FORMAT, SCHEMA, ArchiveError, digest, format_archive, parse_json, reason
from memagent.fields import entry, generator_as_json, generator_of
from memagent.files import whole_folder, write_bytes, write_text

AgentT = TypeVar("AgentT", bound=DescribedLearner)
MODEL, ARRAYS, REST = "model.zip", "training.safetensors", "training.json"


def save_checkpoint(
    agent: DescribedLearner, folder: Path, extra: Mapping[str, Any], *, mid_episode: bool
) -> None:
    """Write a checkpoint; see `MemoryAlgorithm.save_checkpoint`."""
    arrays, texts = _parted(_state_of(agent))
    try:
        model = format_archive(agent_tensors(agent), agent_data(agent))
        with whole_folder(folder) as inside:
            write_bytes(inside / MODEL, model)
            save_file(arrays, inside / ARRAYS)
            table = {
                "format": FORMAT,
                "schema": SCHEMA,
                "files": {name: _sha256(inside / name) for name in (MODEL, ARRAYS)},
                "steps": agent.num_timesteps,
                "recent_return": recent_return(agent),
                "mid_episode": mid_episode,
                "texts": texts,
                "steps_since_update": agent.steps_since_update,
                "action_space": generator_as_json(agent.action_space.np_random),
                "process": randomness.get_state(),
                "extra": dict(extra),
            }
            text = json.dumps(table | {"sha256": digest(table)}, allow_nan=False)
            write_text(inside / REST, text)
    except (ArchiveError, TypeError, ValueError) as error:
        raise ArchiveError(f"{folder} was not written: {reason(error)}") from error


def load_checkpoint(
    cls: type[AgentT], folder: Path, env: Any, device: torch.device | str, settings: Mapping[str, Any]
) -> tuple[AgentT, dict[str, Any]]:
    """Read a checkpoint; see `MemoryAlgorithm.load_checkpoint`."""
    table = read_whole(folder)
    try:
        arrays = _read_arrays(folder / ARRAYS)
    except ArchiveError as error:
        raise ArchiveError(f"{folder} was not loaded: {error}") from error
    given = {name: value for name, value in settings.items() if name != "seed"}  # the generator goes on
    agent = load_agent(cls, folder / MODEL, env, device, given, force_reset=False)
    try:
        _restore(agent, arrays, table)
        return agent, entry(table, "extra", dict)
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"{folder} was not loaded: {reason(error)}") from error


def read_table(folder: Path) -> dict[str, Any]:
    """What training.json says: "steps" and "recent_return" among the rest.

    Raises:
        ArchiveError: it is not there, is a link, or is not what was written.
    """
    try:
        _refuse_links(folder)
        table = parse_json(REST, (folder / REST).read_bytes())
        if table.get("format") != FORMAT or table.get("schema") != SCHEMA:
            raise ArchiveError(f"its {REST} is none of schema {SCHEMA}; take the version that wrote it.")
        if table.pop("sha256", None) != digest(table):
            raise ArchiveError(f"its {REST} is not what was written: the digest differs.")
    except (ArchiveError, OSError) as error:
        raise ArchiveError(f"{folder} was not loaded: {reason(error)}") from error
    return table


def read_whole(folder: Path) -> dict[str, Any]:
    """As `read_table`, of a checkpoint whose other files are what was written too.

    Raises:
        ArchiveError: they are not.
    """
    table = read_table(folder)
    try:
        _check_files(folder, entry(table, "files", dict))
    except ArchiveError as error:
        raise ArchiveError(f"{folder} was not loaded: {error}") from error
    return table


def recent_return(agent: DescribedLearner) -> float | None:
    """The mean return of the newest episodes, as many as SB3's statistics go over; None before the first ended."""
    returns = [episode["r"] for episode in agent.ep_info_buffer or ()]
    return float(np.mean(returns)) if returns else None


def _state_of(agent: DescribedLearner) -> dict[str, NDArray]:
    """Replay, acting and exploration, by name in the file."""
    parts = {
        "replay": agent.replay_buffer.state_dict(),
        "acting": agent.acting.state_dict(),
        "held": agent.held.state_dict(),
    }
    return {f"{part}/{name}": array for part, held in parts.items() for name, array in held.items()}


def _parted(state: Mapping[str, NDArray]) -> tuple[dict[str, NDArray], dict[str, str]]:
    """Arrays of numbers as a file can hold them without a copy, where they are contiguous; and single strings."""
    texts = {name: str(array) for name, array in state.items() if array.dtype.kind == "U"}
    return {n: np.asarray(array, order="C") for n, array in state.items() if n not in texts}, texts


def _restore(agent: DescribedLearner, arrays: Mapping[str, NDArray], table: Mapping[str, Any]) -> None:
    """Put an agent that was just loaded where it was."""
    state = {**arrays, **{name: np.array(text) for name, text in entry(table, "texts", dict).items()}}
    parts: dict[str, dict[str, NDArray]] = {"replay": {}, "acting": {}, "held": {}}
    for full, array in state.items():
        part, _, name = full.partition("/")
        parts[part][name] = array
    agent.replay_buffer.load_state_dict(parts["replay"])
    agent.acting.load_state_dict(parts["acting"])
    agent.held.load_state_dict(parts["held"])
    agent.steps_since_update = entry(table, "steps_since_update", int)
    if not entry(table, "mid_episode", bool):
        agent._last_obs = None  # the next `learn` resets the environments
    states = generator_of(entry(table, "action_space", dict)).bit_generator.state
    agent.action_space.np_random.bit_generator.state = states
    randomness.set_state(entry(table, "process", dict))


def _refuse_links(folder: Path) -> None:
    for path in (folder, *(folder / name for name in (MODEL, ARRAYS, REST))):
        if path.is_symlink():
            raise ArchiveError(f"{path} is a link; put the file itself there.")


def _check_files(folder: Path, digests: Mapping[str, str]) -> None:
    for name in (MODEL, ARRAYS):
        path = folder / name
        if not path.is_file() or digests.get(name) != _sha256(path):
            raise ArchiveError(f"its {name} is not what was written: the digest differs; take another one.")


def _read_arrays(path: Path) -> dict[str, NDArray]:
    """The arrays of a file, of finite numbers."""
    try:
        arrays = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
        raise ArchiveError(f"its {path.name} is not of that format ({reason(error)}).") from error
    for name, array in arrays.items():
        # Stored memory matrices are halves, which overflow where the network's numbers do not.
        if array.dtype.kind == "f" and array.dtype != np.float16 and not np.isfinite(array).all():
            raise ArchiveError(f"its {name} holds NaN or infinity, expected finite numbers.")
    return arrays


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

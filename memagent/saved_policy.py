"""A policy in a file of its own, without pickle: its weights, and what its constructor was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import ConstantSchedule, get_device
from torch import Tensor

from memagent.archive import ArchiveError, format_archive, parse_archive, reason, shortened
from memagent.context import AdaptConfig
from memagent.fields import check_tensors, entry, layout_of, space_as_json, space_of
from memagent.files import write_bytes
from memagent.memory import MemoryConfig
from memagent.meta import MetaConfig
from memagent.settings import build

PolicyT = TypeVar("PolicyT", bound=BasePolicy)
CONFIGS: dict[str, type] = {"memory": MemoryConfig, "adapt": AdaptConfig, "meta": MetaConfig}
SPACES = ("observation_space", "action_space")


def save_policy(policy: BasePolicy, path: Path) -> None:
    """Write a policy; the file is replaced as a whole.

    Raises:
        ArchiveError: something of it cannot be said without pickle, or its weights are not finite.
    """
    parameters = policy._get_constructor_parameters()
    rate = parameters.pop("lr_schedule")(1.0)
    data = {name: _as_json(value) for name, value in parameters.items()}
    try:
        written = format_archive(
            policy.state_dict(), {"class": type(policy).__name__, "rate": rate, "parameters": data}
        )
    except ArchiveError as error:
        raise ArchiveError(f"{path} was not written: {error}") from error
    write_bytes(path, written)


def load_policy(cls: type[PolicyT], path: Path, device: torch.device | str) -> PolicyT:
    """Read what `save_policy` wrote of such a policy.

    Raises:
        ArchiveError: the file holds none, or what it holds does not fit together.
    """
    try:
        tensors, data = parse_archive(path.read_bytes())
        policy = _built(cls, tensors, data)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ArchiveError(f"{path} was not loaded: {reason(error)}") from error
    policy.load_state_dict(tensors)
    return policy.to(get_device(device))


def _built(cls: type[PolicyT], tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> PolicyT:
    """An untrained policy of which the tensors are the weights."""
    if (saved := entry(dict(data), "class", str)) != cls.__name__:
        raise ArchiveError(f"it holds a {shortened(saved)}, expected a {cls.__name__}; call its load.")
    given = entry(dict(data), "parameters", dict)
    rate = entry(dict(data), "rate", float)
    parameters = given | {name: space_of(entry(given, name, dict)) for name in SPACES}
    for name, kind in CONFIGS.items():
        if parameters.get(name) is not None:
            parameters[name] = build(kind, parameters[name])
    size = parameters["observation_space"].shape
    if not isinstance(parameters["observation_space"], spaces.Box) or size is None or len(size) != 1:
        raise ArchiveError("its observation space is no one-dimensional Box.")
    parameters["layout"] = layout_of({"transition_layout": given.get("layout")}, size[0])
    parameters["lr_schedule"] = ConstantSchedule(rate)
    with torch.device("meta"):  # shapes that take no memory
        described = cls(**parameters).float()
    check_tensors(tensors, described.state_dict(), "")
    return cls(**parameters).float()  # whatever PyTorch's default is


def _as_json(value: Any) -> Any:
    """A constructor's argument as JSON's types, as far as they have such a form."""
    if isinstance(value, spaces.Space):
        return space_as_json(value)
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value

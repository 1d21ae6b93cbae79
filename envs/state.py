"""Saves and restores environments mid-episode and mid-phase, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym

from envs.plants import find_plant

# what wrappers of Gymnasium and SB3 remember within an episode, and have no public names for
_REMEMBERED = {
    "TimeLimit": ("_elapsed_steps",),
    "OrderEnforcing": ("_has_reset",),
    "Monitor": ("rewards", "needs_reset"),
}


def get_state(env: Any) -> list[Any]:
    """The state of an environment with its wrappers, or of each one in a vector environment in this process.

    The result is plain lists, dicts, strings and numbers, which JSON can hold. It is complete for the environments of
    the catalogue and their bases; of an environment without a plant it has the random numbers alone, and it has to be
    reset after `set_state`.
    """
    if hasattr(env, "envs"):
        return [get_state(single) for single in env.envs]
    return [_layer_state(layer) for layer in _layers(env)]


def set_state(env: Any, state: Sequence[Any]) -> None:
    """Goes on exactly where `get_state` was called on an environment made in the same way."""
    parts = list(env.envs) if hasattr(env, "envs") else list(_layers(env))
    if len(parts) != len(state):
        raise ValueError(
            f"The state has {len(state)} parts and the environment {len(parts)}: they were made differently."
        )
    for part, part_state in zip(parts, state, strict=True):
        if hasattr(env, "envs"):
            set_state(part, part_state)
        else:
            _set_layer_state(part, part_state)


def _layers(env: gym.Env) -> Iterator[gym.Env]:
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
    yield env


def _layer_state(layer: gym.Env) -> dict[str, Any]:
    own = type(layer).__dict__.get("get_state")
    if own is not None:
        return own(layer)
    if layer is layer.unwrapped:
        return find_plant(layer).get_state(layer)
    return {name: getattr(layer, name) for name in _REMEMBERED.get(type(layer).__name__, ())}


def _set_layer_state(layer: gym.Env, state: Mapping[str, Any]) -> None:
    own = type(layer).__dict__.get("set_state")
    if own is not None:
        own(layer, state)
    elif layer is layer.unwrapped:
        find_plant(layer).set_state(layer, state)
    else:
        for name, value in state.items():
            setattr(layer, name, value)

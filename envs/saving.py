"""Saves and restores environments mid-episode and mid-phase, exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import gymnasium as gym
import numpy as np

from envs.tasks import BARE, find_plant

# what wrappers of Gymnasium and SB3 remember within an episode, under no public name
_REMEMBERED = {
    "TimeLimit": ("_elapsed_steps",),
    "OrderEnforcing": ("_has_reset",),
    "Monitor": ("rewards", "needs_reset"),
}
# wrappers that remember nothing from one step to the next
_FORGETFUL = frozenset(("PassiveEnvChecker", "FlattenObservation", "Sensors", "RescaleAction", "ClipAction"))

_NEXT_RESET = ("_seeds", "_options")


def get_state(env: Any) -> dict[str, Any]:
    """The state of an environment with its wrappers, or of a vector environment in this process.

    The result is plain lists, dicts, strings and numbers, which JSON can hold. It is complete for the environments
    of the catalogue and their bases; of an environment without a plant it has the random numbers alone, and that
    environment has to be reset after `set_state`.
    """
    if hasattr(env, "batch"):
        return env.get_state()
    if not hasattr(env, "envs"):
        return {"layers": [_layer_state(layer) for layer in layers(env)]}
    # Gymnasium's vector environments reset in the step after an episode's end; SB3's keep seeds and options of the
    # next reset
    over = getattr(env, "_autoreset_envs", None)
    return {
        "envs": [get_state(single) for single in env.envs],
        "over": None if over is None else over.tolist(),
        "next_reset": {name: copy(getattr(env, name)) for name in _NEXT_RESET if hasattr(env, name)},
    }


def is_whole(env: Any) -> bool:
    """Whether `get_state` has all of an environment, which goes on in mid-episode; else reset it after `set_state`.

    It has of the environments of the catalogue, their bases and those with a `get_state` and `set_state` of their own,
    in wrappers that are known here; what SB3's wrappers of vector environments keep it has not.
    """
    if hasattr(env, "venv"):
        return False
    if hasattr(env, "batch"):
        return True
    if hasattr(env, "envs"):
        return all(is_whole(single) for single in env.envs)
    return isinstance(env, gym.Env) and all(_layer_is_whole(layer) for layer in layers(env))


def set_state(env: Any, state: Mapping[str, Any]) -> None:
    """Goes on exactly where `get_state` was called on an environment made in the same way."""
    if hasattr(env, "batch"):
        env.set_state(state)
        return
    many = hasattr(env, "envs")
    parts = list(env.envs) if many else list(layers(env))
    states = state.get("envs" if many else "layers", ())
    if len(parts) != len(states):
        raise ValueError(
            f"The state has {len(states)} parts and the environment {len(parts)}: they were made differently."
        )
    for part, part_state in zip(parts, states, strict=True):
        (set_state if many else _set_layer_state)(part, part_state)
    if state.get("over") is not None:
        env._autoreset_envs = np.array(state["over"], np.bool_)
    for name, value in state.get("next_reset", {}).items():
        setattr(env, name, copy(value))


def layers(env: gym.Env) -> Iterator[gym.Env]:
    """The wrappers of an environment from the outside in, and the environment itself."""
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
    return {name: copy(getattr(layer, name)) for name in _REMEMBERED.get(type(layer).__name__, ())}


def _layer_is_whole(layer: gym.Env) -> bool:
    if {"get_state", "set_state"} <= type(layer).__dict__.keys():
        return True
    if layer is layer.unwrapped:
        return find_plant(layer) is not BARE
    return type(layer).__name__ in _FORGETFUL | _REMEMBERED.keys()


def _set_layer_state(layer: gym.Env, state: Mapping[str, Any]) -> None:
    own = type(layer).__dict__.get("set_state")
    if own is not None:
        own(layer, state)
    elif layer is layer.unwrapped:
        find_plant(layer).set_state(layer, state)
    else:
        for name, value in state.items():
            setattr(layer, name, copy(value))

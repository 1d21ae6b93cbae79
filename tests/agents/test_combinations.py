"""Every combination of settings and spaces trains, or is refused in a sentence."""

import math
import os
import traceback
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import TransitionObservation
from memagent.agents import MemoryAlgorithm, MemoryDQN, MemorySAC

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
OURS = tuple(str(Path(__file__).parents[2] / package) for package in ("memagent", "envs"))
EXAMPLES = int(os.environ.get("COMBINATIONS", "30"))
"""Combinations that are tried; set the variable for more."""

SMALL: dict[str, dict[str, Any]] = {  # so that there are updates in 50 steps
    "memory": {"memory_size": 4, "memory_dim": 3, "num_read_heads": 2, "hidden_size": 8},
    "replay": {"capacity": 400, "burn_in": 1, "rows": 6, "stride": 2, "n_step": 1},
    "learner": {"learning_starts": 10, "steps_per_update": 8, "batch_size": 4},
    "adapt": {"context_dim": 2, "steps_ahead": 2, "train_support": 4, "support": 4},
}
USUAL: dict[Any, list[Any]] = {bool: [True, False], int: [1, 2, 3, 5], float: [1e-6, 0.1, 0.5, 1.0]}
WILD: dict[Any, list[Any]] = {
    bool: [True, False],
    int: [-1, 0, 64, 1000],
    float: [-0.5, 0.0, 1.5, 1e9, math.inf, math.nan],
}


def values_of(kind: Any, values: dict[Any, list[Any]]) -> list[Any]:
    """What a setting of a type may be given."""
    options = getattr(kind, "__args__", ())
    if type(None) in options:
        return [None, *values_of(options[0], values)]
    return list(options) or values[kind]


@st.composite
def combinations(draw: st.DrawFn) -> tuple[gym.Env, type[MemoryAlgorithm], dict[str, Any], int]:
    """An environment, an agent, the agent's settings by section, and how many environments; seldom anything wild."""
    agent = draw(st.sampled_from([MemoryDQN, MemorySAC]))
    sections = {}
    for name, (_, config) in agent.configs.items():
        types = get_type_hints(config)
        known = [field.name for field in fields(config) if field.name != "backend"]
        given = dict(SMALL.get(name, {}))
        for field in draw(st.lists(st.sampled_from(known), max_size=3, unique=True)):
            values = WILD if seldom(draw) else USUAL
            given[field] = draw(st.sampled_from(values_of(types[field], values)))
        if given.get("steps_per_update") == USUAL[float][0]:
            given["steps_per_update"] = USUAL[float][1]  # a million updates for each step end, but not today
        sections[name] = (config, given)
    acted = (
        st.builds(gym.spaces.Discrete, st.integers(1, 4))
        if agent is MemoryDQN
        else st.builds(box, st.sampled_from(LIMITS), st.sampled_from(SHAPES), st.sampled_from(KINDS))
    )
    seen = st.builds(
        box, st.sampled_from(LIMITS + ENDLESS), st.sampled_from(SHAPES[:2]), st.sampled_from(KINDS)
    )
    env = Random(
        draw(wild_spaces if seldom(draw) else seen),
        draw(wild_spaces if seldom(draw) else acted),
        length=draw(st.sampled_from([1, 2, 7, 100])),
    )
    return env, agent, sections, draw(st.integers(1, 3))


def seldom(draw: st.DrawFn) -> bool:
    return draw(st.integers(0, 19)) == 19


LIMITS, ENDLESS = [(-1.0, 1.0), (0.0, 3.0)], [(-math.inf, math.inf), (0.0, math.inf)]
SHAPES: list[tuple[int, ...]] = [(1,), (3,), (2, 2), ()]
KINDS = [np.float32, np.float64]


def box(bounds: tuple[float, float], shape: tuple[int, ...], kind: type) -> gym.Space:
    return gym.spaces.Box(*(bounds if kind is not np.uint8 else (0, 255)), shape, kind)


wild_spaces = (
    st.builds(
        box,
        st.sampled_from([*LIMITS, *ENDLESS, (2.0, 2.0)]),
        st.sampled_from(SHAPES),
        st.sampled_from([*KINDS, np.uint8]),
    )
    | st.builds(gym.spaces.Discrete, st.integers(1, 4))
    | st.just(gym.spaces.MultiDiscrete([2, 3]))
    | st.just(gym.spaces.MultiBinary(2))
    | st.just(gym.spaces.Dict({"a": gym.spaces.Box(0.0, 1.0, (2,))}))
)


class Random(gym.Env):
    """Observations at random, in episodes of one length."""

    def __init__(self, seen: gym.Space, acted: gym.Space, length: int) -> None:
        self.observation_space, self.action_space, self.length, self.time = seen, acted, length, 0

    def __repr__(self) -> str:
        return f"Random({self.observation_space}, {self.action_space}, {self.length})"

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype)), action
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == self.length, False, {}


def trained(env: gym.Env, cls: type[MemoryAlgorithm], sections: dict[str, Any], count: int) -> int:
    """How many steps of 50 were trained."""
    configs = {name: config(**given) for name, (config, given) in sections.items()}
    vec = DummyVecEnv([lambda: deepcopy(env) for _ in range(count)])
    return cls("MemoryPolicy", vec, seed=0, device="cpu", **configs).learn(50).num_timesteps


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(combinations(), st.booleans())
def test_every_combination_trains_or_is_refused_in_a_sentence(
    combination: tuple[gym.Env, type[MemoryAlgorithm], dict[str, Any], int], shown: bool
) -> None:
    env, cls, sections, count = combination
    try:
        steps = trained(TransitionObservation(env) if shown else env, cls, sections, count)
    except ValueError as error:
        *_, raised = traceback.extract_tb(error.__traceback__)
        assert raised.filename.startswith(OURS), "not our sentence"
        assert "raise " in (raised.line or ""), "not meant"
        message = str(error)
        assert len(message.splitlines()) == 1 and len(message.split()) > 4
        event("refused")
    else:
        assert steps >= 50
        event("trained")

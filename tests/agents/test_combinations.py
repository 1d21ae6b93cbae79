"""Every combination of settings and spaces trains, or is refused in a sentence."""

import math
import os
from dataclasses import fields
from typing import Any, get_type_hints

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import DummyVecEnv

from envs import TransitionObservation
from memagent.agents import MemoryAlgorithm, MemoryDQN, MemorySAC
from memagent.agents.finite import NonFiniteError

pytestmark = pytest.mark.filterwarnings("ignore:The environment has no TransitionObservation")
EXAMPLES = int(os.environ.get("COMBINATIONS", "40"))

WHOLE = st.sampled_from([-1, 0, 1, 2, 3, 5, 8, 16, 64])
SHARE = st.sampled_from([-0.5, 0.0, 1e-6, 0.1, 0.5, 1.0, 1.5, math.inf, math.nan])
RANGES: dict[str, st.SearchStrategy[Any]] = {
    "capacity": st.sampled_from([0, 1, 50, 300, 1000]),
    "learning_starts": st.sampled_from([0, 5, 20, 100]),
    "max_skips": st.sampled_from([-1, 0, 3, 100]),
}


def values_of(kind: Any, name: str) -> st.SearchStrategy[Any]:
    """Values of a setting: usual ones, its edges, and some beyond them."""
    if name in RANGES:
        return RANGES[name]
    options = getattr(kind, "__args__", ())
    if type(None) in options:
        return st.none() | values_of(options[0], name)
    if options:
        return st.sampled_from(options)
    return {bool: st.booleans(), int: WHOLE, float: SHARE}[kind]


@st.composite
def combinations(draw: st.DrawFn) -> tuple[gym.Env, type[MemoryAlgorithm], dict[str, Any], int]:
    """An environment, an agent, the agent's settings by section, and how many environments."""
    agent = draw(st.sampled_from([MemoryDQN, MemorySAC]))
    sections = {}
    for name, (_, config) in agent.configs.items():
        types = get_type_hints(config)
        known = [field.name for field in fields(config) if field.name != "backend"]
        chosen = draw(st.lists(st.sampled_from(known), max_size=4, unique=True))
        sections[name] = (config, {field: draw(values_of(types[field], field)) for field in chosen})
    env = Endless(draw(spaces_seen), draw(spaces_acted), length=draw(st.sampled_from([1, 2, 7, 100])))
    return env, agent, sections, draw(st.integers(1, 3))


low_high = st.sampled_from([(-1.0, 1.0), (0.0, 3.0), (-math.inf, math.inf), (0.0, math.inf), (2.0, 2.0)])
shapes = st.sampled_from([(), (1,), (3,), (2, 2)])
kinds = st.sampled_from([np.float32, np.float64, np.uint8])


def box(bounds: tuple[float, float], shape: tuple[int, ...], kind: type) -> gym.Space:
    low, high = (0, 255) if kind is np.uint8 else bounds
    return gym.spaces.Box(low, high, shape, kind)


boxes = st.builds(box, low_high, shapes, kinds)
spaces_seen = boxes | st.builds(gym.spaces.Discrete, st.integers(1, 4))
spaces_acted = boxes | st.builds(gym.spaces.Discrete, st.integers(1, 4), start=st.sampled_from([0, -2]))
spaces_acted |= st.builds(gym.spaces.MultiDiscrete, st.just([2, 3])) | st.builds(gym.spaces.MultiBinary, st.just(2))


class Endless(gym.Env):
    """Observations and rewards at random, in episodes of one length."""

    def __init__(self, seen: gym.Space, acted: gym.Space, length: int) -> None:
        self.observation_space, self.action_space, self.length, self.time = seen, acted, length, 0

    def __repr__(self) -> str:
        return f"Endless({self.observation_space}, {self.action_space}, {self.length})"

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.time = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), (action, self.action_space)
        self.time += 1
        return self.observation_space.sample(), 1.0, self.time == self.length, False, {}


def trained(env: gym.Env, cls: type[MemoryAlgorithm], sections: dict[str, Any], count: int) -> int:
    """How many steps of 50 were trained."""
    configs = {name: config(**given) for name, (config, given) in sections.items()}
    vec = DummyVecEnv([lambda: env for _ in range(count)])
    return cls("MemoryPolicy", vec, seed=0, device="cpu", **configs).learn(50).num_timesteps


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(combinations(), st.booleans())
def test_every_combination_trains_or_is_refused_in_a_sentence(
    combination: tuple[gym.Env, type[MemoryAlgorithm], dict[str, Any], int], shown: bool
) -> None:
    env, cls, sections, count = combination
    try:
        steps = trained(TransitionObservation(env) if shown else env, cls, sections, count)
    except (ValueError, NonFiniteError) as error:
        message = str(error)
        assert len(message.splitlines()) == 1 and len(message) > 20, message
        assert message[0].isupper() or message.split()[0].rstrip(".") in message, message
    else:
        assert steps >= 50

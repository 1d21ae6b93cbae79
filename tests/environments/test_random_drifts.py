"""A thousand random drifts, schedules × parameters × environments: seeded, saved, sharing nothing."""

import json
from functools import cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import (
    AcrobotEnv,
    CartPoleEnv,
    Continuous_MountainCarEnv,
    MountainCarEnv,
    PendulumEnv,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import envs
from envs import Drift, DriftingEnv
from envs.schedules import (
    Between,
    Choice,
    Constant,
    Decay,
    Draw,
    Geometric,
    Listed,
    OrnsteinUhlenbeck,
    Periodic,
    Ramp,
    RandomWalk,
    Sigmoid,
    Sine,
    Square,
    Steps,
    Uniform,
)
from envs.tasks import find_plant
from envs.tasks.point_goal import PointGoalEnv
from envs.tasks.point_wind import PointWindEnv

BASES = (
    CartPoleEnv,
    PendulumEnv,
    AcrobotEnv,
    MountainCarEnv,
    Continuous_MountainCarEnv,
    PointWindEnv,
    PointGoalEnv,
)
STEPS = 30
SCALED = {  # low and high of every interface parameter that takes any value between
    "sensor_noise": (0.0, 0.1),
    "sensor_gain": (0.5, 2.0),
    "sensor_bias": (-0.1, 0.1),
    "sensor_dropout": (0.0, 0.5),
    "reward_scale": (0.5, 2.0),
    "reward_target": (-1.0, 1.0),
}
BOX_ONLY = {
    "action_gain": (0.5, 2.0),
    "action_bias": (-0.2, 0.2),
    "action_dead_zone": (0.0, 0.2),
    "action_noise": (0.0, 0.2),
}
LISTED = {
    "action_sign": (-1, 1),
    "reward_sign": (-1, 1),
    "action_permutation": (0, 1),
    "sensor_permutation": (0, 1),
    "action_delay": (0, 1, 3),
    "sensor_delay": (0, 2),
}
times = st.one_of(
    st.builds(Periodic, st.integers(1, 20)),
    st.builds(Geometric, st.floats(1, 20)),
    st.builds(lambda low, more: Between(low, low + more), st.integers(1, 9), st.integers(0, 9)),
    st.just(Listed((2, 3, 17))),
)


def between(low, high):
    """Schedules whose values lie between low and high."""
    value, hold = st.floats(low, high), st.integers(1, 12)
    middle, reach = (low + high) / 2, (high - low) / 2
    return st.one_of(
        st.builds(Constant, value),
        st.builds(Steps, st.lists(value, min_size=1, max_size=3).map(tuple), times, st.booleans()),
        st.builds(Draw, st.just(Uniform(((low, high),))), times, st.sampled_from([None, 2])),
        st.builds(Ramp, value, value, st.integers(0, 20), st.integers(1, 20), hold),
        st.builds(Sigmoid, value, value, st.integers(0, 20), st.floats(0.1, 5), hold),
        st.builds(Sine, st.just(middle), st.floats(0, 0.99 * reach), st.floats(2, 40), st.floats(0, 1), hold),
        st.builds(Square, value, value, st.integers(2, 20)),
        st.builds(Decay, value, value, st.floats(1, 20), hold),
        st.builds(RandomWalk, value, st.floats(0, reach), st.just(low), st.just(high), hold),
        st.builds(
            OrnsteinUhlenbeck,
            value,
            st.floats(0, reach),
            st.floats(1, 20),
            st.just(low),
            st.just(high),
            hold,
        ),
    )


def listed(values, size):
    """Schedules that take some of the listed values; permutations need two entries at least."""
    possible = values if size > 1 else values[:1]
    return st.builds(Draw, st.just(Choice(possible)), times, st.sampled_from([None, 3]))


@cache  # making a strategy costs hypothesis more than running the environments
def parameters(base):
    """A strategy for every parameter of an environment's class."""
    env = base()
    boxed = isinstance(env.action_space, gym.spaces.Box)
    size = env.action_space.shape[0] if boxed else int(env.action_space.n)
    options = {name: between(*reach) for name, reach in {**SCALED, **(BOX_ONLY if boxed else {})}.items()}
    for name, values in LISTED.items():
        options[name] = listed(values, size if name == "action_permutation" else 2)
    if not boxed:
        options["action_slip"] = between(0.0, 0.5)
    for name, how in find_plant(env).parameters.items():
        value = how.read(env)
        options[name] = between(
            value - 0.3 * abs(value) - 1e-9 * (not how.positive), value + 0.3 * abs(value) + 1e-9
        )
    return options


@cache
def names(base):
    return st.lists(st.sampled_from(sorted(parameters(base))), min_size=1, max_size=4, unique=True)


@st.composite
def drifts(draw):
    """An environment's class, and a drift of one to four of its parameters."""
    base = draw(st.sampled_from(BASES))
    schedules = {name: draw(parameters(base)[name]) for name in draw(names(base))}
    drift = Drift(schedules, draw(st.sampled_from(["step", "episode_end"])))
    return base, Drift.from_json(json.loads(json.dumps(drift.to_json())))


def make(base, drift, seed):
    return DriftingEnv(gym.wrappers.TimeLimit(base(), 11), drift, seed)


@cache
def actions(base):
    """An action for every step."""
    space = base().action_space
    space.seed(0)
    return [space.sample() for _ in range(STEPS)]


def live(env, first, last):
    """Steps first to last with actions that depend on the step alone; all that is observed, as JSON."""
    record = []
    for action in actions(type(env.unwrapped))[first:last]:
        observation, reward, terminated, truncated, info = env.step(action)
        record.append([observation.tolist(), float(reward), terminated, truncated, dict(info)])
        if terminated or truncated:
            observation, info = env.reset()
            record.append([observation.tolist(), dict(info)])
    return json.dumps(record)


@pytest.mark.filterwarnings("ignore:.*not within the observation space")
@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(drifts(), drifts(), st.integers(0, 2**32), st.integers(0, STEPS - 5))
def test_a_random_drift_is_seeded_saved_and_its_own(one, another, seed, pause):
    env, twin, other = make(*one, seed), make(*one, seed + 1), make(*another, seed)
    env.reset(), other.reset()
    begin = live(env, 0, pause)
    state = json.loads(json.dumps(envs.get_state(env)))
    live(other, 0, 10)  # a stranger's life in between changes nothing
    expected = live(env, pause, STEPS)
    twin.reset()
    assert live(twin, 0, STEPS) != begin + expected  # another seed, another life
    envs.set_state(twin, state)
    assert live(twin, pause, STEPS) == expected
    again = env.reset(seed=seed)[0]
    np.testing.assert_array_equal(again, make(*one, seed).reset()[0])
    assert live(env, 0, pause) == begin and live(env, pause, STEPS) == expected

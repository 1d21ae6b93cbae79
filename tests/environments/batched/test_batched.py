"""Batched environments are, to the bit, what single ones with the same seeds compute: through both interfaces."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor

import envs
from envs import DriftingEnv, TransitionObservation, make_vec
from envs.batched.gymnasium_vector_env import BatchedVectorEnv
from envs.batched.wrapper_stack import read_stack
from envs.drift import Drift
from envs.schedules import Choice, Periodic, Steps, Uniform
from envs.tasks import find_plant, find_task

# some actions here are out of bounds, as a Gaussian policy's are
pytestmark = pytest.mark.filterwarnings("ignore:.*not within the observation space")

BARE = ("CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0")
DRIFTING = ("Drift/CartPole-v0", "Drift/Pendulum-v0", "Drift/PointWind-v0", "Drift/PointGoal-v0")


def pair(name, num_envs=3, seed=5, **kwargs):
    """The batched form and the single environments."""
    return tuple(make_vec(name, num_envs, seed, batched=batched, **kwargs) for batched in (True, False))


def assert_same(a, b):
    """Nested dicts, lists and arrays, to the bit and of the same types."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            if key != "t":  # seconds since a Monitor was made
                assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert_same(a.tolist(), b.tolist())
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def actions(vec, steps, seed=0):
    rng = np.random.default_rng(seed)
    space = getattr(vec, "single_action_space", vec.action_space)
    if isinstance(space, gym.spaces.Discrete):
        return rng.integers(space.n, size=(steps, vec.num_envs))
    low, high = 1.2 * space.low, 1.2 * space.high
    return rng.uniform(low, high, (steps, vec.num_envs, *space.shape)).astype(np.float32)


def follow(batched, singles, steps, seed=0):
    """Steps both, comparing all they return; how many episodes ended."""
    ended = 0
    for action in actions(batched, steps, seed):
        results = batched.step(action), singles.step(action)
        assert_same(*results)
        if hasattr(batched, "reset_infos"):
            assert_same(batched.reset_infos, singles.reset_infos)
        ended += np.sum(results[0][2] if hasattr(batched, "reset_infos") else results[0][2] | results[0][3])
    return ended


@pytest.mark.parametrize("api", ["sb3", "gymnasium"])
@pytest.mark.parametrize("name", BARE)
def test_every_bare_environment_is_its_single_self(name, api):
    batched, singles = pair(name, api=api)
    assert_same(batched.reset(), singles.reset())
    follow(batched, singles, 250)
    assert (batched.observation_space, batched.action_space) == (
        singles.observation_space,
        singles.action_space,
    )


@pytest.mark.parametrize("api", ["sb3", "gymnasium"])
@pytest.mark.parametrize("name", DRIFTING)
@pytest.mark.parametrize(
    "settings",
    [
        {"phase_steps": 30},
        {"phase_steps": 30, "change_at": "step", "schedule": "random", "observe_context": True},
        {"phase_steps": 20, "schedule": "cycle", "transition_observation": False},
    ],
)
def test_every_drifting_environment_is_its_single_self(name, api, settings):
    batched, singles = pair(name, api=api, **settings)
    assert_same(batched.reset(), singles.reset())
    ended = follow(batched, singles, 220)
    assert ended or "Point" in name
    for action in actions(batched, 3):
        batched.step(action), singles.step(action)
    assert [c.get_state() for c in batched.get_attr("clock")] == [
        c.get_state() for c in singles.get_attr("clock")
    ]
    if api == "sb3":
        batched.seed(9), singles.seed(9)
        assert_same(batched.reset(), singles.reset())
    else:
        assert_same(batched.reset(seed=9), singles.reset(seed=9))
    follow(batched, singles, 60, seed=1)


def test_long_acrobot_and_mountain_car_episodes_do_not_part():
    for name in ("Acrobot-v1", "MountainCarContinuous-v0"):
        batched, singles = pair(name, 2, api="gymnasium")
        batched.reset(), singles.reset()
        follow(batched, singles, 1_005)


@pytest.mark.parametrize("name", ["MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1"])
def test_goals_end_episodes_alike(name):
    batched, singles = pair(name, 2, transition_observation=False)
    observation = batched.reset()
    singles.reset()
    ended = 0
    for _ in range(450):
        if name == "Acrobot-v1":
            action = 1 + np.sign(observation[:, 5]).astype(int)
        elif name == "MountainCar-v0":
            action = np.where(observation[:, 1] < 0, 0, 2)
        else:
            action = np.where(observation[:, 1:] < 0, -1, 1).astype(np.float32)
        results = batched.step(action), singles.step(action)
        assert_same(*results)
        observation = results[0][0]
        ended += sum(
            done and not info["TimeLimit.truncated"] for done, info in zip(*results[0][2:], strict=True)
        )
    assert ended > 2


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_all_autoreset_modes(mode):
    def make():
        return gym.make("Drift/CartPole-v0", seed=3, phase_steps=40)

    singles = SyncVectorEnv([make] * 3, autoreset_mode=mode)
    batched = BatchedVectorEnv(read_stack(make()), 3, autoreset_mode=mode)
    assert batched.metadata["autoreset_mode"] == mode
    assert_same(batched.reset(seed=[4, 8, 5]), singles.reset(seed=[4, 8, 5]))
    resets = 0
    for action in actions(batched, 150):
        results = batched.step(action), singles.step(action)
        assert_same(*results)
        over = results[0][2] | results[0][3]
        if mode == AutoresetMode.DISABLED and over.any():
            resets += 1
            assert_same(*(v.reset(options={"reset_mask": over}) for v in (batched, singles)))
    assert resets > 2 or mode != AutoresetMode.DISABLED


@pytest.mark.parametrize("api", [BatchedVectorEnv, SyncVectorEnv])
def test_a_masked_reset_shows_the_others_as_they_are_not_what_became_of_the_callers_array(api):
    def make():
        return gym.make("Drift/CartPole-v0", seed=3)

    vec = api(read_stack(make()), 3) if api is BatchedVectorEnv else api([make] * 3)
    vec.reset(seed=[4, 8, 5])
    obs, *_ = vec.step(np.array([0, 1, 1]))
    shown, others = obs.copy(), [0, 2]
    obs[:] = 99.0
    again, _ = vec.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(again[others], shown[others])
    assert not np.array_equal(again[1], shown[1])
    again[:] = 99.0
    once_more, _ = vec.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(once_more[others], shown[others])


@pytest.mark.parametrize("mask", [np.zeros(2, bool), np.ones(3, bool), np.array([1, 0]), True])
def test_a_reset_mask_that_does_not_fit_is_refused(mask):
    vec = BatchedVectorEnv(read_stack(gym.make("CartPole-v1")), 2)
    with pytest.raises(ValueError, match="expected 2 bools, True for one environment at least"):
        vec.reset(seed=0, options={"reset_mask": mask})


def test_stepping_on_after_an_end_is_refused_where_autoreset_is_disabled():
    batched = BatchedVectorEnv(read_stack(gym.make("CartPole-v1")), 1, autoreset_mode="Disabled")
    batched.reset(seed=0)
    while not batched.step(np.array([1]))[2].any():
        pass
    with pytest.raises(ValueError, match="reset them"):
        batched.step(np.array([1]))


def test_frozen_contexts_seeds_and_options_of_the_base_are_honoured():
    batched, singles = pair("Drift/CartPole-v0", phase_steps=15)
    held = envs.contexts("Drift/CartPole-v0", "held_out", 2)
    options = [
        {"context": held[0], "frozen": True},
        {"context": {"gravity": 3.0}, "low": 0.01, "high": 0.02},
        {"context": 2},
    ]
    steps = [
        lambda v: v.reset(),
        lambda v: (v.set_options(options), v.reset())[1],
        lambda v: (v.seed(3), v.reset())[1],
        lambda v: (v.set_options({"frozen": False}), v.reset())[1],
        lambda v: (v.set_options({"frozen": True}), v.reset())[1],
        lambda v: (v.set_options([{"frozen": False}, {"low": -0.01}, {}]), v.seed(1), v.reset())[2],
    ]
    for step in steps:
        assert_same(step(batched), step(singles))
        assert_same(batched.reset_infos, singles.reset_infos)
        follow(batched, singles, 60)


@settings(max_examples=25)
@given(
    name=st.sampled_from(DRIFTING),
    seed=st.integers(0, 2**32),
    num_envs=st.integers(1, 4),
    api=st.sampled_from(["sb3", "gymnasium"]),
    schedule=st.sampled_from(["draw", "random", "cycle"]),
    change_at=st.sampled_from(["step", "episode_end"]),
    phase_steps=st.integers(1, 60),
    before=st.integers(0, 70),
)
def test_a_saved_batch_goes_on_exactly(name, seed, num_envs, api, schedule, change_at, phase_steps, before):
    kwargs = {"api": api, "schedule": schedule, "change_at": change_at, "phase_steps": phase_steps}
    batched, singles = pair(name, num_envs, seed, **kwargs)
    assert_same(batched.reset(), singles.reset())
    follow(batched, singles, before)
    other = make_vec(name, num_envs, seed + 1, batched=True, **kwargs)
    other.reset()
    other.step(actions(other, 1)[0])
    envs.set_state(other, json.loads(json.dumps(envs.get_state(batched))))
    for vec in (batched, other):
        vec.reset_infos = [{} for _ in range(num_envs)]
    follow(other, batched, 60, seed=2)


def test_random_numbers_last_beyond_the_block_that_is_drawn_ahead():
    batched, singles = pair("Drift/CartPole-v0", 1, drift={"parameters": {"sensor_noise": 0.1}})
    batched.reset(), singles.reset()
    assert follow(batched, singles, 3_000) > 100


def test_two_batches_share_nothing():
    one, alone = (make_vec("Drift/CartPole-v0", 2, 1, phase_steps=10) for _ in range(2))
    other = make_vec("Drift/CartPole-v0", 2, 2, phase_steps=10)
    for vec in (one, other, alone):
        vec.reset()
    for action in actions(one, 100):
        other.step(1 - action)
        assert_same(one.step(action), alone.step(action))


def test_results_are_kept_by_those_who_keep_them():
    vec = make_vec("Drift/CartPole-v0", 2, 1, api="gymnasium", phase_steps=5, change_at="step")
    vec.reset()
    results = [vec.step(np.array([0, 1])) for _ in range(20)]
    copies = [
        json.dumps([r[0].tolist(), r[4]["phase"].tolist(), r[4]["context"]["force"].tolist()])
        for r in results
    ]
    vec.step(np.array([0, 1]))
    assert len(set(copies)) == 20 and results[0][4]["phase"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="read-only"):
        results[0][4]["phase"][:] = 7


def test_attributes_and_pictures_are_those_of_each_environment():
    for vec in pair("Drift/CartPole-v0", 2, render_mode="rgb_array"):
        vec.reset()
        vec.step(np.array([0, 1]))
        gravities = vec.get_attr("unwrapped")
        assert [env.gravity for env in gravities] if not hasattr(vec, "batch") else True
        frames = vec.get_images()
        assert frames[0].shape == (400, 600, 3) and (frames[0] != frames[1]).any()
        assert vec.has_attr("transition_layout") and not vec.has_attr("nonsense")
        assert vec.env_method("get_wrapper_attr", "gravity") == [
            c.context["gravity"] for c in vec.get_attr("clock")
        ]
        assert vec.env_is_wrapped(Monitor) == vec.env_is_wrapped(TransitionObservation) == [True, True]
        assert vec.env_is_wrapped(gym.wrappers.Autoreset, 0) == [False]
        assert is_wrapped(gym.make("Drift/CartPole-v0"), DriftingEnv)
        vec.close()


def test_what_a_batch_cannot_do_is_refused_in_a_sentence():
    vec = make_vec("CartPole-v1", 2, batched=True)
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        vec.step(np.zeros(2, int))
    vec.reset()
    for wrong in (np.zeros(3, int), np.array([0, 2]), np.array([0.5, 0]), np.array([-1, 0])):
        with pytest.raises(ValueError, match="expected"):
            vec.step(wrong)
    with pytest.raises(AttributeError, match="batched=False"):
        vec.set_attr("gravity", 5)
    with pytest.raises(AttributeError, match="batched=False"):
        vec.env_method("reset")
    with pytest.raises(ValueError, match="leave batched=True out"):
        make_vec("Memory/Recall-v0", 2, batched=True)
    with pytest.raises(ValueError, match="made differently"):
        envs.set_state(vec, envs.get_state(reset(make_vec("CartPole-v1", 3, batched=True))))


def reset(vec):
    vec.reset()
    return vec


class Heavier(CartPoleEnv):
    """A subclass, which may move differently."""


@pytest.mark.parametrize(
    "make",
    [
        Heavier,
        lambda: DriftingEnv(gym.make("Acrobot-v1"), Drift({"torque_noise": 0.1})),
        lambda: gym.make("CartPole-v1", sutton_barto_reward=True),
        lambda: gym.wrappers.RescaleAction(gym.make("Pendulum-v1"), -1, 1),
        lambda: DriftingEnv(TransitionObservation(gym.make("CartPole-v1")), Drift({"force": 5})),
        lambda: DriftingEnv(DriftingEnv(gym.make("CartPole-v1"), Drift({"force": 5})), Drift({"gravity": 5})),
    ],
)
def test_what_is_not_known_is_not_batched(make):
    assert read_stack(make()) is None


def test_a_drift_of_ones_own_is_batched():
    sources = {
        "action_gain": Uniform(((-1.5, 1.5),)),
        "mass": Uniform(((0.5, 2.0),)),
        "sensor_noise": Choice((0, 0.1)),
    }
    for change_at in ("step", "episode_end"):
        drift = Drift.draws(sources, Periodic(37), change_at=change_at)

        def make(drift=drift):
            return TransitionObservation(DriftingEnv(gym.make("Pendulum-v1"), drift, 4), 3.0)

        singles, batched = SyncVectorEnv([make] * 2), BatchedVectorEnv(read_stack(make()), 2)
        assert_same(batched.reset(seed=1), singles.reset(seed=1))
        follow(batched, singles, 450)


@pytest.mark.parametrize("name", [*BARE, "Drift/PointWind-v0", "Drift/PointGoal-v0"])
def test_every_parameter_of_every_plant_reaches_the_batch(name):
    base = gym.make(name).unwrapped
    unknown = find_task(base).dynamics.unknown
    for parameter, how in find_plant(base).parameters.items():
        if parameter in unknown:
            continue
        value = how.read(base)
        drift = Drift({parameter: Steps((value, 1.2 * value + 0.01), Periodic(10))}, change_at="step")

        def make(drift=drift):
            return DriftingEnv(type(base)(), drift, 4)

        singles, batched = SyncVectorEnv([make] * 2), BatchedVectorEnv(read_stack(make()), 2)
        assert_same(batched.reset(seed=1), singles.reset(seed=1))
        follow(batched, singles, 25)

"""A stream saved in the middle of an episode and of a phase goes on to the bit, through JSON."""

import json

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.vec_env import VecCheckNan

import envs


def rollout(env, steps, first_action=0):
    """Observations, rewards, ends and infos under random actions, a function of the step number alone."""
    record = []
    for t in range(first_action, first_action + steps):
        env.action_space.seed(t)
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        record.append([observation.tolist(), float(reward), terminated, truncated, dict(info)])
        if terminated or truncated:
            observation, info = env.reset()
            record.append([observation.tolist(), dict(info)])
    return record


@settings(max_examples=12)
@given(
    name=st.sampled_from(["Drift/CartPole-v0", "Drift/Pendulum-v0"]),
    schedule=st.sampled_from(["draw", "random", "cycle"]),
    change_at=st.sampled_from(["step", "episode_end"]),
    seed=st.integers(0, 2**31),
    before=st.integers(0, 260),
)
def test_a_restored_stream_goes_on_exactly(name, schedule, change_at, seed, before):
    kwargs = {"schedule": schedule, "change_at": change_at, "phase_steps": 40, "max_episode_steps": 70}
    env, other = gym.make(name, **kwargs), gym.make(name, **kwargs)
    env.reset(seed=seed)
    rollout(env, before)
    state = json.loads(json.dumps(envs.get_state(env)))
    expected = rollout(env, 220, before)
    other.reset(seed=seed + 1)
    rollout(other, 17)
    envs.set_state(other, state)
    assert rollout(other, 220, before) == expected
    assert any(len(entry) == 2 for entry in expected)  # the time limit is part of it


def test_a_held_context_is_part_of_the_state():
    env, other = gym.make("Drift/Pendulum-v0"), gym.make("Drift/Pendulum-v0")
    env.reset(
        seed=0, options={"context": envs.contexts("Drift/Pendulum-v0", "held_out", 1)[0], "frozen": True}
    )
    rollout(env, 30)
    other.reset(seed=1)
    envs.set_state(other, envs.get_state(env))
    assert rollout(other, 200, 30) == rollout(env, 200, 30)
    for e in (env, other):
        e.reset(options={"frozen": False})
    assert rollout(other, 50) == rollout(env, 50)


@pytest.mark.parametrize("name", ["Drift/CartPole-v0", "CartPole-v1", *envs.PROBES])
def test_a_vector_environment_with_its_monitors_goes_on_exactly(name):
    vec, other = envs.make_vec(name, 3, seed=0), envs.make_vec(name, 3, seed=1)
    vec.reset()
    other.reset()
    actions = np.random.default_rng(0).integers(2, size=(120, 3))
    for action in actions[:50]:
        vec.step(action)
    envs.set_state(other, json.loads(json.dumps(envs.get_state(vec))))
    episodes = 0
    for action in actions[50:]:
        results = [v.step(action) for v in (vec, other)]
        for a, b in zip(*(r[:3] for r in results), strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(*(r[3] for r in results), strict=True):
            assert a["episode"]["r"] == b["episode"]["r"] if "episode" in a else "episode" not in b
            episodes += "episode" in a
    assert episodes > 3


@pytest.mark.parametrize("name", envs.PROBES)
def test_a_saved_probe_goes_on_exactly_through_json_whoever_takes_it(name):
    env, other, fresh = gym.make(name), gym.make(name), gym.make(name)
    fresh_state = json.loads(json.dumps(envs.get_state(fresh)))  # before any reset
    env.reset(seed=3)
    rollout(env, 25)
    state = json.loads(json.dumps(envs.get_state(env)))
    expected = rollout(env, 90, 25)
    other.reset(seed=4)
    rollout(other, 7)
    envs.set_state(other, state)
    assert rollout(other, 90, 25) == expected
    envs.set_state(other, fresh_state)
    np.testing.assert_array_equal(other.reset()[0], fresh.reset()[0])


def test_gymnasiums_vector_face_goes_on_exactly():
    vec, other = (envs.make_vec("Drift/CartPole-v0", 3, seed=s, api="gymnasium") for s in (0, 1))
    vec.reset()
    other.reset()
    actions = np.random.default_rng(0).integers(2, size=(200, 3))
    over = False
    for t, action in enumerate(actions):
        if t > 20 and over:  # between an episode's end and the reset of the next step
            break
        over = vec.step(action)[2].any()
    envs.set_state(other, json.loads(json.dumps(envs.get_state(vec))))
    for action in actions[t:]:
        for a, b in zip(vec.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_state_of_another_stack_is_refused():
    env, other = gym.make("Drift/CartPole-v0"), gym.make("Drift/CartPole-v0", transition_observation=False)
    env.reset()
    with pytest.raises(ValueError, match="made differently"):
        envs.set_state(other, envs.get_state(env))


def test_a_saved_state_is_not_moved_by_what_comes_after():
    vec = envs.make_vec("Drift/CartPole-v0", 1, seed=0)
    vec.reset()
    vec.step(np.array([0]))
    state = envs.get_state(vec)
    before = json.dumps(state)
    vec.step(np.array([0]))
    assert json.dumps(state) == before != json.dumps(envs.get_state(vec))


def test_what_the_next_reset_was_told_is_part_of_the_state():
    for batched in (None, False):
        vec, other = (envs.make_vec("Drift/CartPole-v0", 2, seed=s, batched=batched) for s in (0, 1))
        vec.reset()
        other.reset()
        other.seed(3)  # forgotten
        envs.set_state(other, envs.get_state(vec))
        np.testing.assert_array_equal(vec.reset(), other.reset())
        vec.seed(5)
        envs.set_state(other, json.loads(json.dumps(envs.get_state(vec))))
        np.testing.assert_array_equal(vec.reset(), other.reset())


def test_a_state_is_the_same_however_the_stream_came_there():
    vec, other = (envs.make_vec("Drift/CartPole-v0", 2, seed=0) for _ in range(2))
    vec.reset()
    actions = np.random.default_rng(0).integers(2, size=(90, 2))
    for action in actions[:40]:
        vec.step(action)
    envs.set_state(other, envs.get_state(vec))
    for action in actions[40:]:
        vec.step(action)
        other.step(action)
    assert json.dumps(envs.get_state(vec)) == json.dumps(envs.get_state(other))


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("Drift/CartPole-v0", True),
        ("CartPole-v1", True),
        ("Drift/PointGoals-v0", True),
        *((name, True) for name in envs.PROBES),
        ("FrozenLake-v1", False),
    ],
)
def test_which_environments_save_their_whole_state(name, whole):
    vec = envs.make_vec(name, 2, seed=0)
    assert envs.is_whole(vec) is whole
    single = gym.make(name)
    assert envs.is_whole(single) is whole
    assert not envs.is_whole(gym.wrappers.NormalizeReward(single))  # what it remembers is not known here
    assert not envs.is_whole(VecCheckNan(vec))


def test_a_restored_environment_knows_the_id_of_its_held_context():
    one, other = (gym.make("Drift/CartPole-v0", phase_steps=20, disable_env_checker=True) for _ in range(2))
    one.reset(seed=3)
    assert one.reset(options={"context": 5})[1]["context_id"] == 5
    other.reset(seed=4)
    envs.set_state(other, json.loads(json.dumps(envs.get_state(one))))
    assert other.step(0)[4] == one.step(0)[4]

"""A copy or a pickle of an environment, in mid-episode and mid-phase, goes on as the original would have, and alone."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest

import envs

IDS = [*envs.CATALOGUE, *envs.PROBES]
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


def actions_of(env, count):
    env.action_space.seed(0)
    return [env.action_space.sample() for _ in range(count)]


def play(env, actions):
    """All that was seen, a reset where an episode ended included."""
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append([*observation, float(reward)])
        if terminated or truncated:
            seen.append([*env.reset()[0], 0.0])
    return np.array(seen)


def make(name):
    drift = {"phase_steps": 7, "change_at": "step"} if name in envs.CATALOGUE else {}
    env = gym.make(name, **drift)
    env.reset(seed=1)
    return env


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", IDS)
def test_a_copy_and_its_original_run_as_if_alone(name, how):
    alone, env = make(name), make(name)
    actions = actions_of(alone, 40)
    play(alone, actions[:10])
    play(env, actions[:10])
    expected, twin = play(alone, actions[10:]), COPIES[how](env)
    np.testing.assert_array_equal(play(twin, actions[10:]), expected)
    np.testing.assert_array_equal(play(env, actions[10:]), expected)


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_an_environment_that_was_never_reset_can_begin(how):
    env = gym.make("Drift/CartPole-v0")
    twin = COPIES[how](env)
    np.testing.assert_array_equal(twin.reset(seed=3)[0], env.reset(seed=3)[0])


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_stays_in_a_held_context(how):
    env = gym.make("Drift/Pendulum-v0", phase_steps=3)
    held = envs.contexts("Drift/Pendulum-v0", "held_out", 1)[0]
    env.reset(seed=1, options={"context": held, "frozen": True})
    twin = COPIES[how](env)
    twin.reset()
    assert twin.step(actions_of(twin, 1)[0])[4]["context"] == held


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("api", ["sb3", "gymnasium"])
def test_vector_environments_can_be_copied(api, batched, how):
    def steps(vec):
        return np.stack([vec.step(np.array([0, 1, t % 2]))[0] for t in range(40)])

    env, alone = (
        envs.make_vec("Drift/CartPole-v0", 3, seed=0, api=api, batched=batched, phase_steps=9)
        for _ in range(2)
    )
    env.reset(), alone.reset()
    steps(env), steps(alone)
    expected, twin = steps(alone), COPIES[how](env)
    np.testing.assert_array_equal(steps(twin), expected)
    np.testing.assert_array_equal(steps(env), expected)

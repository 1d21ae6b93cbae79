"""The memory probe: what it shows, what it pays, and that nothing without memory can solve it."""

import gymnasium as gym
import numpy as np
import pytest

import envs
from envs.tasks.recall import RecallEnv


def episode(env, policy, seed=None):
    """The return of policy(observation, time), and the observations."""
    observation, _ = env.reset(seed=seed)
    observations, total, over = [observation], 0.0, False
    while not over:
        observation, reward, over, _, _ = env.step(policy(observation, len(observations) - 1))
        observations.append(observation)
        total += reward
    return total, np.array(observations)


def test_an_episode_shows_a_cue_then_distractors_then_the_question():
    env = RecallEnv(num_cues=3, length=6, impatience=0.3)
    cues, distractors = [], []
    for seed in range(60):
        _, seen = episode(env, lambda *_: 0, seed)
        assert len(seen) == 7
        assert seen[0, :3].sum() == 1 and (seen[1:, :3] == 0).all()
        assert (np.abs(seen[1:6, 3]) == 1).all()
        assert seen[:, 4].tolist() == [0, 0, 0, 0, 0, 1, 0]
        cues.append(seen[0, :3].argmax())
        distractors.append(seen[1:6, 3])
    assert min(np.bincount(cues, minlength=3)) > 8
    assert abs(np.mean(distractors)) < 4 / np.sqrt(300)


def test_who_remembers_earns_one_and_who_does_not_earns_chance():
    env = RecallEnv()
    memory = {}

    def remembers(observation, time):
        if time == 0:
            memory["cue"] = int(observation[:2].argmax())
        return memory["cue"] if time == env.length - 1 else 0

    env.reset(seed=0)
    assert {episode(env, remembers)[0] for _ in range(50)} == {1.0}
    guesses = np.mean([episode(env, lambda *_: 0)[0] for _ in range(400)])
    assert abs(guesses - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_carrying_the_cue_from_action_to_action_costs_more_than_it_earns():
    env = gym.make("Memory/Recall-v0")
    layout = env.get_wrapper_attr("transition_layout")

    def relay(observation, time):
        if time == 0:
            return 0
        if time == 1:  # the last trace of the cue: the change of the observation
            change = observation[slice(*layout["change"])]
            return int(change[1] < 0)
        return int(observation[slice(*layout["action"])].argmax())  # what it did last

    env.reset(seed=0)
    returns = [episode(env, relay)[0] for _ in range(200)]
    assert set(returns) == {1.0, 1.0 - 6 * 0.25}  # always right, and dear for cue 1
    assert np.mean(returns) < 0.4


def test_the_transition_shows_the_cue_no_longer_than_one_step():
    env = gym.make("Memory/Recall-v0")
    shown = {}
    for cue in (0, 1):
        seed = next(s for s in range(20) if episode(env.unwrapped, lambda *_: 0, s)[1][0, cue] == 1)
        _, seen = episode(env, lambda *_: 0, seed)
        shown[cue] = np.delete(seen, [2, 6], axis=1)  # without the distractor and its change
    assert not (shown[0][:2] == shown[1][:2]).all(axis=1).any()
    np.testing.assert_array_equal(shown[0][2:-1], shown[1][2:-1])


@pytest.mark.parametrize("wrong", [{"num_cues": 1}, {"length": 3}, {"impatience": 0.1}])
def test_settings_that_are_no_probe_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        RecallEnv(**wrong)


def test_a_restored_probe_goes_on_exactly():
    env, other = gym.make("Memory/Recall-v0"), gym.make("Memory/Recall-v0")
    env.reset(seed=3)
    env.step(1)
    other.reset(seed=4)
    envs.set_state(other, envs.get_state(env))
    for _ in range(7):
        for a, b in zip(env.step(0), other.step(0), strict=True):
            np.testing.assert_array_equal(a, b)

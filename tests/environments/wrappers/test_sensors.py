"""Sensors leaves what it is told to leave, and refuses the rest."""

import gymnasium as gym
import numpy as np
import pytest

from envs.wrappers.sensors import Sensors


def test_the_chosen_entries_in_the_order_given():
    env, full = Sensors(gym.make("CartPole-v1"), [2, 0]), gym.make("CartPole-v1")
    np.testing.assert_array_equal(env.reset(seed=3)[0], full.reset(seed=3)[0][[2, 0]])
    np.testing.assert_array_equal(env.step(1)[0], full.step(1)[0][[2, 0]])
    np.testing.assert_array_equal(env.observation_space.high, full.observation_space.high[[2, 0]])


@pytest.mark.parametrize("seen", [[], [4], [-1, 0]])
def test_indices_outside_the_observation_are_refused(seen):
    with pytest.raises(ValueError, match="expected indices from 0 to 3"):
        Sensors(gym.make("CartPole-v1"), seen)


def test_observations_that_are_no_vector_are_refused():
    with pytest.raises(ValueError, match="one-dimensional Box"):
        Sensors(gym.make("FrozenLake-v1"), [0])

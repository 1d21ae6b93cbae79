"""TransitionObservation, value by value."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from envs.wrappers import TransitionObservation


class Script(gym.Env):
    """Observes n² (1, −1), earns n / 2 at step n, for any action space."""

    def __init__(self, action_space):
        self.action_space = action_space
        self.observation_space = spaces.Box(np.float32([0, -100]), np.float32([100, 0]))
        self.n = 0

    def _observe(self):
        return np.float32([self.n**2, -(self.n**2)])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.n = 1
        return self._observe(), {}

    def step(self, action):
        self.n += 1
        return self._observe(), self.n / 2, self.n == 4, False, {}


def test_discrete_actions_are_one_hot_and_every_part_is_where_the_layout_says():
    env = TransitionObservation(Script(spaces.Discrete(3, start=5)), change_scale=2.0)
    assert env.transition_layout == {
        "observation": (0, 2),
        "change": (2, 4),
        "action": (4, 7),
        "reward": (7, 8),
        "start": (8, 9),
    }
    for _ in range(2):  # the second episode knows nothing of the first
        assert env.reset()[0].tolist() == [1, -1, 0, 0, 0, 0, 0, 0, 1]
        assert env.step(7)[0].tolist() == [4, -4, 6, -6, 0, 0, 1, 1.0, 0]
        assert env.step(5)[0].tolist() == [9, -9, 10, -10, 1, 0, 0, 1.5, 0]
        assert env.step(6)[0].tolist() == [16, -16, 14, -14, 0, 1, 0, 2.0, 0]


def test_box_actions_are_as_they_were_given():
    env = TransitionObservation(Script(spaces.Box(-2, 2, (2,), np.float32)), change_scale=(1.0, 0.5))
    observation, _ = env.reset()
    assert observation.tolist() == [1, -1, 0, 0, 0, 0, 0, 1]
    observation = env.step(np.float32([0.5, -1.5]))[0]
    assert observation.tolist() == [4, -4, 3, -1.5, 0.5, -1.5, 1.0, 0]
    assert observation.dtype == np.float32


def test_the_space_holds_every_part():
    env = TransitionObservation(Script(spaces.Box(1, 2, (1,), np.float32)), change_scale=3.0)
    assert env.observation_space == spaces.Box(
        np.float32([0, -100, -300, -300, 0, -np.inf, 0]), np.float32([100, 0, 300, 300, 2, np.inf, 1])
    )
    assert env.reset()[0] in env.observation_space  # where the previous action is 0, outside the action space
    assert env.step(np.float32([1.5]))[0] in env.observation_space


def test_changing_a_returned_observation_changes_nothing_later():
    env = TransitionObservation(Script(spaces.Discrete(2)))
    env.reset()[0][:] = np.nan
    env.step(0)[0][:] = np.nan
    assert np.isfinite(env.step(0)[0]).all()


def test_observations_of_more_dimensions_are_flattened():
    env = Script(spaces.Discrete(2))
    env.observation_space = spaces.Box(0, 1, (2, 3), np.float64)
    env._observe = lambda: np.arange(6.0).reshape(2, 3) / 6
    wrapped = TransitionObservation(env)
    assert wrapped.transition_layout["change"] == (6, 12)
    np.testing.assert_allclose(wrapped.reset()[0][:6], np.arange(6) / 6, rtol=1e-6)


@pytest.mark.parametrize(
    ("observations", "actions", "scale", "sentence"),
    [
        (spaces.Discrete(3), spaces.Discrete(2), 1.0, "needs Box observations"),
        (spaces.Box(0, 1, (2,)), spaces.MultiBinary(2), 1.0, "needs Box or Discrete actions"),
        (spaces.Box(0, 1, (2,)), spaces.Discrete(2), (1.0, 2.0, 3.0), "expected a number or 2 of them"),
    ],
)
def test_what_it_cannot_show_is_refused_in_a_sentence(observations, actions, scale, sentence):
    env = Script(actions)
    env.observation_space = observations
    with pytest.raises(ValueError, match=sentence):
        TransitionObservation(env, scale)

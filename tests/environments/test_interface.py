"""Drifts of actuators and sensors, in environments that echo what reaches them."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from envs.drift import Drift
from envs.schedules import Choice, Draw, Periodic, Steps
from envs.wrappers import DriftingEnv


class Echo(gym.Env):
    """Observes twice the last action as a box of floats; remembers the action itself."""

    observation_space = spaces.Box(-10, 10, (2,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space
        self.received = None

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.received = action
        return np.full(2, 2.0, np.float32), 0.0, False, False, {}


def received(action_space, action, **parameters):
    env = DriftingEnv(Echo(action_space), Drift(parameters), seed=0)
    env.reset()
    env.step(action)
    return env.env.received


@pytest.mark.parametrize(("sign", "expected"), [(1, [2, 3, 4, 5]), (-1, [5, 4, 3, 2])])
def test_a_sign_mirrors_discrete_actions(sign, expected):
    space = spaces.Discrete(4, start=2)
    assert [received(space, a, action_sign=sign) for a in (2, 3, 4, 5)] == expected


def test_a_sign_and_a_gain_scale_box_actions_up_to_saturation():
    space = spaces.Box(np.float32([-1.0, -2.0]), np.float32([1.0, 0.5]))
    action = np.array([0.5, -0.2], np.float32)
    np.testing.assert_array_equal(received(space, action, action_sign=-1), [-0.5, np.float32(0.2)])
    np.testing.assert_allclose(received(space, action, action_gain=1.5), [0.75, -0.3], rtol=1e-6)
    np.testing.assert_allclose(received(space, action, action_sign=-1, action_gain=4), [-1.0, 0.5], rtol=1e-6)
    assert received(space, action, action_sign=-1, action_gain=4) in space


def test_a_neutral_interface_hands_on_the_very_same_action():
    action = np.array([0.3], np.float32)
    space = spaces.Box(-1, 1, (1,), np.float32)
    assert received(space, action, action_sign=1, action_gain=1, sensor_noise=0) is action


def noisy(seed, schedule=0.5):
    return DriftingEnv(Echo(spaces.Discrete(2)), Drift({"sensor_noise": schedule}), seed)


def test_sensor_noise_is_white_gaussian_of_its_size():
    env = noisy(seed=1)
    start, _ = env.reset()
    rest = [env.step(0)[0] - 2.0 for _ in range(3_000)]
    values = np.array([start, *rest])
    assert values.dtype == np.float32 and env.observation_space.contains(start)
    assert abs(values.mean()) < 4 * 0.5 / np.sqrt(values.size)
    assert abs(values.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * values.size)
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.08
    assert abs(np.corrcoef(values[:, 0], values[:, 1])[0, 1]) < 0.08


def test_sensor_noise_is_the_seeds():
    a, b, c = (noisy(seed).reset()[0] for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).all()
    env = noisy(seed=7)
    first = [env.reset(seed=3)[0], env.step(0)[0]]
    again = [env.reset(seed=3)[0], env.step(0)[0]]
    np.testing.assert_array_equal(first, again)


def test_sensor_noise_drifts_and_can_be_off():
    env = noisy(seed=1, schedule=Steps((0.0, 1.0), Periodic(1)))
    _, _ = env.reset()
    assert (env.step(0)[0] == 2.0).all()  # phase 0: no noise
    observation, _ = env.reset()  # the change is due
    assert (observation != 0.0).all()


@pytest.mark.parametrize(
    ("space", "parameters", "sentence"),
    [
        (spaces.Discrete(2), {"action_gain": 2}, "action_gain needs a Box"),
        (spaces.MultiDiscrete([2, 2]), {"action_sign": -1}, "action_sign needs Box or Discrete"),
        (spaces.Discrete(2), {"gravity": 9.8}, r"has no parameters \['gravity'\]"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_a_sentence(space, parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        DriftingEnv(Echo(space), Drift(parameters))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [({"action_sign": 0.5}, "expected −1 or 1"), ({"sensor_noise": -1}, "standard deviation")],
)
def test_values_that_make_no_sense_are_refused_in_a_sentence(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        DriftingEnv(Echo(spaces.Discrete(2)), Drift(parameters)).reset()


def test_noise_needs_floats_to_be_added_to():
    env = Echo(spaces.Discrete(2))
    env.observation_space = spaces.Discrete(3)
    with pytest.raises(ValueError, match="sensor_noise needs a Box of floats"):
        DriftingEnv(env, Drift({"sensor_noise": 0.1}))


def test_a_sign_in_cartpole_is_a_swap_of_the_actions():
    flipped = DriftingEnv(
        gym.make("CartPole-v1"), Drift({"action_sign": Draw(Choice((-1,)), Periodic(5))}), seed=4
    )
    plain = gym.make("CartPole-v1")
    for env in (flipped, plain):
        env.reset(seed=4)
    for action in (1, 0, 0, 1):
        np.testing.assert_array_equal(flipped.step(action)[0], plain.step(1 - action)[0])

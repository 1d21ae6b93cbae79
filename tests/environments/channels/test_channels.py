"""Drifts of actuators and sensors, in environments that echo what reaches them."""

import itertools
import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import envs
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
        (spaces.Discrete(2), {"action_dead_zone": 2}, "action_dead_zone needs a Box"),
        (spaces.Box(-1, 1, (1,)), {"action_slip": 0.5}, "action_slip needs Discrete"),
        (spaces.Box(-1, 1, (2, 2)), {"action_permutation": 1}, "one-dimensional actions"),
        (spaces.Discrete(2), {"gravity": 9.8}, r"has no parameters \['gravity'\]"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_a_sentence(space, parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        DriftingEnv(Echo(space), Drift(parameters))


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"action_sign": 0.5}, "expected −1 or 1"),
        ({"reward_sign": 0}, "expected −1 or 1"),
        ({"sensor_noise": -1}, "standard deviation"),
        ({"sensor_dropout": 1.5}, "probability from 0 to 1"),
        ({"action_slip": -0.5}, "probability from 0 to 1"),
        ({"action_permutation": 2}, r"from 0 to 2! − 1"),
        ({"sensor_permutation": 0.5}, "whole number"),
        ({"action_delay": 1.5}, "whole number of steps"),
        ({"sensor_delay": -1}, "whole number of steps"),
    ],
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


class Count(gym.Env):
    """Observes t, t + 1, t + 2 at step t, is rewarded t, remembers all actions: what is late or swapped shows."""

    observation_space = spaces.Box(0, 1_000, (3,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.received = 0, []
        return np.arange(3, dtype=np.float32), {}

    def step(self, action):
        self.received.append(action if np.ndim(action) == 0 else action.tolist())
        self.time += 1
        return np.arange(self.time, self.time + 3, dtype=np.float32), float(self.time), False, False, {}


BOX = spaces.Box(-2, 2, (3,), np.float32)


def count(parameters, space=BOX, **kwargs):
    env = DriftingEnv(Count(space), Drift(parameters, **kwargs), seed=0)
    return env, env.reset()[0]


def drive(space, actions, **parameters):
    env, _ = count(parameters, space)
    for action in actions:
        env.step(np.float32(action) if isinstance(space, spaces.Box) else action)
    return env.env.received


def test_bias_and_dead_zone_of_an_actuator():
    action = [[0.5, -0.25, 1.5]]
    assert drive(BOX, action, action_bias=0.25) == [[0.75, 0.0, 1.75]]
    assert drive(BOX, action, action_bias=1) == [[1.5, 0.75, 2.0]]
    assert drive(BOX, action, action_dead_zone=0.5) == [[0.0, 0.0, 1.0]]
    assert drive(BOX, action, action_sign=-1, action_gain=2, action_bias=0.5, action_dead_zone=0.25) == [
        [-0.25, 0.75, -2.0]
    ]


def test_permutations_are_numbered_in_lexicographic_order():
    swapped = [drive(BOX, [[0, 1, 2]], action_permutation=k)[0] for k in range(6)]
    assert swapped == [list(map(float, p)) for p in itertools.permutations(range(3))]
    discrete = [
        [drive(spaces.Discrete(3, start=5), [a], action_permutation=k)[0] for a in (5, 6, 7)]
        for k in range(6)
    ]
    assert discrete == [[5 + a for a in p] for p in itertools.permutations(range(3))]
    seen = [count({"sensor_permutation": k})[1].tolist() for k in range(6)]
    assert seen == swapped


def test_a_permutation_and_a_sign_of_discrete_actions_compose():
    assert [drive(spaces.Discrete(3), [a], action_permutation=1, action_sign=-1)[0] for a in range(3)] == [
        2,
        0,
        1,
    ]


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_actions_and_observations_arrive_late(delay):
    env, first = count({"action_delay": delay, "sensor_delay": delay}, spaces.Discrete(20))
    seen = [first[0]] + [env.step(a)[0][0] for a in range(10)]
    assert env.env.received == [max(a - delay, 0) for a in range(10)]
    assert seen == [max(t - delay, 0) for t in range(11)]
    env.reset()  # nothing is on its way from the episode before
    assert env.step(7)[0][0] == (1 if delay == 0 else 0)
    assert env.env.received == [7]


def test_a_delay_can_grow_within_an_episode():
    schedule = {"sensor_delay": Steps((0, 2), Periodic(4))}
    env, _ = count(schedule, change_at="step")
    assert [env.step(np.zeros(3, np.float32))[0][0] for _ in range(9)] == [1, 2, 3, 4, 3, 4, 5, 6, 9]


def test_gain_and_bias_of_sensors_have_no_bounds():
    env, first = count({"sensor_gain": -2.0, "sensor_bias": 0.5})
    assert first.tolist() == [0.5, -1.5, -3.5] and first.dtype == np.float32
    assert first in env.observation_space
    assert count({"sensor_delay": 2})[0].observation_space == Count.observation_space


def test_dropout_loses_its_share_independently():
    env, _ = count({"sensor_dropout": 0.3})
    lost = np.array([env.step(np.zeros(3, np.float32))[0] == 0 for _ in range(3_000)])
    assert abs(lost.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / lost.size)
    assert abs(np.corrcoef(lost[:, 0], lost[:, 1])[0, 1]) < 0.08


def test_noise_of_an_actuator_is_gaussian_and_saturates():
    noise = np.array(drive(BOX, [[0, 0, 0]] * 3_000, action_noise=0.4))
    assert abs(noise.mean()) < 4 * 0.4 / np.sqrt(noise.size) and abs(noise.std() - 0.4) < 0.02
    assert np.abs(drive(BOX, [[2, 2, 2]] * 50, action_noise=0.4)).max() == 2.0


def test_a_slip_takes_any_action():
    taken = np.array(drive(spaces.Discrete(4), [1] * 4_000, action_slip=0.4))
    shares = np.bincount(taken, minlength=4) / taken.size
    np.testing.assert_allclose(shares, [0.1, 0.7, 0.1, 0.1], atol=0.03)


@pytest.mark.parametrize(
    ("parameters", "rewards"),
    [
        ({"reward_scale": 0.5}, [0.5, 1.0, 1.5]),
        ({"reward_sign": -1, "reward_scale": 2}, [-2, -4, -6]),
        ({"reward_target": 2}, [-1, 0, -1]),
        ({"reward_target": 2, "reward_scale": 3, "reward_sign": -1}, [3, 0, 3]),
    ],
)
def test_rewards_have_scale_sign_and_target(parameters, rewards):
    env, _ = count(parameters)
    assert [env.step(np.zeros(3, np.float32))[1] for _ in range(3)] == rewards


def test_interface_drifts_are_scheduled_as_plants_are():
    schedule = {"reward_sign": Steps((1, -1), Periodic(2)), "sensor_bias": Steps((0, 5), Periodic(3))}
    env, _ = count(schedule, change_at="step")
    steps = [env.step(np.zeros(3, np.float32)) for _ in range(6)]
    assert [r for _, r, *_ in steps] == [1, 2, -3, -4, 5, 6]
    assert [o[0] for o, *_ in steps] == [1, 2, 3, 9, 10, 11]
    assert [info["phase"] for *_, info in steps] == [0, 0, 1, 2, 3, 3]


def test_everything_on_its_way_is_saved():
    parameters = {
        "action_delay": 2, "action_noise": 0.1, "sensor_delay": 3, "sensor_noise": 0.1, "sensor_dropout": 0.2,
        "action_permutation": 0, "reward_scale": 2.0, "action_gain": 0.5,
    }  # fmt: skip
    drift = Drift(parameters)

    def make():
        return DriftingEnv(gym.make("Pendulum-v1", disable_env_checker=True), drift, seed=0)

    env, other = make(), make()
    env.reset(), other.reset()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-2, 2, (60, 1)).astype(np.float32)
    for action in actions[:30]:
        env.step(action)
    envs.set_state(other, json.loads(json.dumps(envs.get_state(env))))
    for action in actions[30:]:
        a, b = env.step(action), other.step(action)
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1:] == b[1:]

"""Every physical parameter reaches the dynamics, and leaves them to the bit."""

import gymnasium as gym
import numpy as np
import pytest

from envs.plants import CARTPOLE, PENDULUM, find_plant

PLANTS = {"CartPole-v1": CARTPOLE, "Pendulum-v1": PENDULUM}
CASES = [(base, name) for base, plant in PLANTS.items() for name in plant.parameters]


def trajectory(env, seed=3, steps=40):
    """Observations and rewards under fixed actions that also reach the pendulum's limits."""
    env.reset(seed=seed)
    if env.spec.id.startswith("Pendulum"):
        env.unwrapped.state = np.array([np.pi / 2, 5.0])
        actions = [np.array([2.0 * np.cos(t)], np.float32) for t in range(steps)]
    else:
        actions = [t // 2 % 2 for t in range(steps)]
    record = []
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        record.append(np.append(observation, reward))
        if terminated:
            break
    return np.array(record)


@pytest.mark.parametrize(("base", "name"), CASES)
def test_a_parameter_changes_the_trajectory_and_changing_it_back_restores_it(base, name):
    env = gym.make(base).unwrapped
    plant = find_plant(env)
    before, native = trajectory(env), plant.parameters[name].read(env)
    plant.set(env, {name: 0.6 * native})
    changed = trajectory(env)
    assert plant.parameters[name].read(env) == 0.6 * native
    assert changed.shape != before.shape or not np.allclose(changed, before)
    plant.set(env, {name: native})
    np.testing.assert_array_equal(trajectory(env), before)


def test_cartpole_derived_quantities_follow():
    env = gym.make("CartPole-v1").unwrapped
    CARTPOLE.set(env, {"cart_mass": 3.0, "pole_mass": 0.7, "half_length": 1.3})
    assert env.total_mass == 0.7 + 3.0
    assert env.polemass_length == 0.7 * 1.3


def test_cartpole_with_a_heavier_cart_obeys_the_equations_of_motion():
    env = gym.make("CartPole-v1").unwrapped
    CARTPOLE.set(env, {"cart_mass": 4.0, "pole_mass": 0.3, "half_length": 0.9, "gravity": 7.0, "force": 6.0})
    env.reset(seed=0)
    env.state = np.array([0.1, -0.2, 0.05, 0.3])
    env.step(1)
    theta, theta_dot = 0.05, 0.3
    temp = (6.0 + 0.3 * 0.9 * theta_dot**2 * np.sin(theta)) / 4.3
    theta_acc = (7.0 * np.sin(theta) - np.cos(theta) * temp) / (
        0.9 * (4 / 3 - 0.3 * np.cos(theta) ** 2 / 4.3)
    )
    x_acc = temp - 0.3 * 0.9 * theta_acc * np.cos(theta) / 4.3
    expected = [0.1 - 0.2 * 0.02, -0.2 + 0.02 * x_acc, 0.05 + 0.3 * 0.02, 0.3 + 0.02 * theta_acc]
    np.testing.assert_allclose(env.state, expected, rtol=1e-12)


def test_an_unknown_environment_has_no_physical_parameters():
    assert not find_plant(gym.make("Acrobot-v1")).parameters

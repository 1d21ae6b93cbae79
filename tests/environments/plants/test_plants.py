"""Every physical parameter reaches the dynamics, and leaves them to the bit; no two environments share one."""

import json

import gymnasium as gym
import numpy as np
import pytest

import envs
import envs.tasks.recorded_lander  # noqa: F401 imports Box2D, whose warnings must not be errors
from envs.tasks import BARE, TASKS, find_plant
from envs.tasks.cartpole import PLANT as CARTPOLE

CLASSIC = {
    "CartPole-v1": 6,
    "Pendulum-v1": 6,
    "Acrobot-v1": 11,
    "MountainCar-v0": 5,
    "MountainCarContinuous-v0": 4,
    "Base/PointWind-v0": 6,
    "Base/PointGoal-v0": 5,
    "Base/PointGoals-v0": 11,
    "LunarLander-v3": 3,
    "LunarLanderContinuous-v3": 3,
    "Base/LunarLander-v0": 3,
}
MUJOCO = ["Base/HalfCheetahVel-v0"] + [
    task.documented for task in TASKS if task.env.startswith("gymnasium.envs.mujoco:")
]
# 0.6 of the native value is another value, but for these.
OTHER_VALUES = {
    "torque_noise": 0.5,
    "goal_velocity": 0.068,
    "goal_position": 0.2,
    "wind_x": 0.03,
    "wind_y": 0.03,
    "heading": 2.0,
    "goal_x": 0.3,
    "goal_y": 0.3,
    **{f"goal_{i}_{axis}": 0.3 for i in range(4) for axis in "xy"},
    "wind_power": 12.0,
    "turbulence_power": 1.5,
    "crippled": 0.0,
    "target_velocity": 1.5,
}


def make(base):
    env = gym.make(base).unwrapped
    env.reset(seed=3)
    return env


STARTS = {"Pendulum-v1": [np.pi / 2, 5.0], "Acrobot-v1": [0.5, 0.5, 12.5, -28.0]}  # near the limits
PILOTS = {  # that drive a body into its limits, or to its goal; elsewhere random actions do
    "Pendulum-v1": lambda env, obs, t: np.array([2.0 * np.cos(t)], np.float32),
    "CartPole-v1": lambda env, obs, t: t // 2 % 2,
    "Acrobot-v1": lambda env, obs, t: 2 * int(env.state[2] >= 0),
    "MountainCar-v0": lambda env, obs, t: 2 * int(env.state[1] >= 0),
    "MountainCarContinuous-v0": lambda env, obs, t: np.sign(env.state[1:] + 1e-9, dtype=np.float32),
    "Base/PointWind-v0": lambda env, obs, t: obs / np.linalg.norm(obs),
    "Base/PointGoal-v0": lambda env, obs, t: -obs[:2] / np.linalg.norm(obs[:2]),
    "Base/PointGoals-v0": lambda env, obs, t: -obs[:2] / np.linalg.norm(obs[:2]),
}


def trajectory(env, base, steps=120):
    """Observations and rewards of an episode that starts anew."""
    observation, _ = env.reset(seed=3)
    if base in STARTS:
        env.state = np.array(STARTS[base])
    env.action_space.seed(0)
    choose = PILOTS.get(base, lambda env, obs, t: env.action_space.sample())
    record = []
    for t in range(steps):
        observation, reward, terminated, _, _ = env.step(choose(env, observation, t))
        record.append(np.append(observation, reward))
        if terminated:
            break
    return np.array(record)


@pytest.mark.parametrize("base", [*CLASSIC, *MUJOCO])
def test_a_parameter_changes_the_trajectory_and_changing_it_back_restores_it(base):
    env, beside = make(base), make(base)
    plant = find_plant(env)
    assert plant is not BARE
    before = trajectory(env, base)
    for name, parameter in plant.parameters.items():
        native = parameter.read(env)
        value = OTHER_VALUES.get(name, 0.6 * native or 3.0)
        plant.set(env, {name: value})
        changed = trajectory(env, base)
        assert parameter.read(env) == pytest.approx(value, rel=1e-12), name
        assert changed.shape != before.shape or not np.allclose(changed, before, rtol=1e-4), name
        # an environment beside it knows nothing of it
        assert find_plant(beside).parameters[name].read(beside) == native, name
        np.testing.assert_array_equal(trajectory(beside, base), before, name)
        plant.set(env, {name: native})
        np.testing.assert_array_equal(trajectory(env, base), before, name)


def test_the_number_of_parameters_is_as_listed():
    assert {base: len(find_plant(gym.make(base)).parameters) for base in CLASSIC} == CLASSIC


# Gymnasium's own LunarLander cannot be saved: Base/LunarLander-v0 records its flight.
@pytest.mark.parametrize("base", [b for b in [*CLASSIC, *MUJOCO] if not b.startswith("LunarLander")])
def test_a_plants_state_is_all_there_is(base):
    env, other = make(base), make(base)
    plant = find_plant(env)
    name = next(iter(plant.parameters))
    for e in (env, other):
        plant.set(e, {name: 0.9 * plant.parameters[name].read(e)})
    env.action_space.seed(1)
    for _ in range(7):
        env.step(env.action_space.sample())
    state = json.loads(json.dumps(plant.get_state(env)))
    plant.set_state(other, state)
    for _ in range(30):
        action = env.action_space.sample()
        ours, theirs = env.step(action), other.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:3] == theirs[1:3]
        if ours[2]:
            np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


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


def test_a_heavier_body_weighs_more_in_all_that_mujoco_derives():
    env = make("HalfCheetah-v5")
    native = env.model.body_subtreemass.copy()
    position = env.data.qpos.copy()
    find_plant(env).set(env, {"mass": 1.5})
    np.testing.assert_allclose(env.model.body_subtreemass, 1.5 * native, rtol=1e-12)
    np.testing.assert_array_equal(env.data.qpos, position)  # the body stays where it is


def test_a_crippled_joint_does_not_answer():
    env = make("Ant-v5")
    find_plant(env).set(env, {"crippled": 2})
    dead, alive = np.zeros(8, np.float32), np.zeros(8, np.float32)
    dead[2], alive[3] = 1.0, 1.0
    env.step(dead)
    assert env.data.actuator_force[2] == 0
    env.step(alive)
    assert env.data.actuator_force[3] != 0


@pytest.mark.parametrize("joint", [8, -2, 0.5])
def test_a_joint_that_does_not_exist_cannot_be_crippled(joint):
    env = make("Ant-v5")
    with pytest.raises(ValueError, match="expected a joint from 0 to 7, or −1 for none"):
        find_plant(env).set(env, {"crippled": joint})


def test_wind_that_rises_in_mid_flight_blows():
    env, calm = make("LunarLander-v3"), make("LunarLander-v3")
    for e in (env, calm):
        e.reset(seed=1)
    find_plant(env).set(env, {"wind_power": 15.0})
    apart = [np.abs(env.step(0)[0] - calm.step(0)[0]).max() for _ in range(40)]
    assert apart[-1] > 0.01
    with pytest.raises(ValueError, match="wind_power=-1: expected a strength of at least 0"):
        find_plant(env).set(env, {"wind_power": -1})


def test_an_unknown_environment_has_no_physical_parameters():
    assert not find_plant(gym.make("Taxi-v4" if "Taxi-v4" in gym.registry else "Taxi-v3")).parameters

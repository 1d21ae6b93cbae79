"""What the catalogue promises about its ranges, its ids and its drifts; the contract is in test_contract.py."""

import json
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from environments.plays import play, same

import envs
from envs.catalogue import CATALOGUE, contexts, default_drift, make
from envs.schedules import Choice, Periodic

DRIFTING = list(CATALOGUE)


def test_the_default_ranges_are_those_of_the_task():
    drift = default_drift("Drift/CartPole-v0")
    assert drift.moving == {
        "action_sign": (-1, 1),
        "force": (5, 15),
        "half_length": (0.25, 1),
        "gravity": (6, 14),
    }
    assert {schedule.times for schedule in drift.parameters.values()} == {Periodic(1_000)}
    assert drift.change_at == "episode_end"
    assert gym.spec("Drift/CartPole-v0").max_episode_steps == 500
    assert gym.spec("Drift/Pendulum-v0").max_episode_steps == 200


def test_held_out_cartpoles_are_those_of_the_task():
    sides = {
        "force": ((2, 3.5), (16.5, 20)),
        "half_length": ((0.12, 0.2), (1.2, 1.5)),
        "gravity": ((3, 5), (16, 20)),
    }
    drawn = contexts("Drift/CartPole-v0", "held_out", 200)
    for name, (low, high) in sides.items():
        values = np.array([context[name] for context in drawn])
        below = (values >= low[0]) & (values <= low[1])
        above = (values >= high[0]) & (values <= high[1])
        assert (below ^ above).all() and below.sum() == 100


@pytest.mark.parametrize("name", DRIFTING)
def test_held_out_contexts_lie_outside_the_training_range_of_every_parameter(name):
    training = {p: s for p, s in CATALOGUE[name].train.items() if not isinstance(s, Choice)}
    assert training
    for split, inside in (("train", True), ("held_out", False)):
        for context in contexts(name, split, 40, seed=1):
            for parameter, source in training.items():
                assert any(low <= context[parameter] <= high for low, high in source.intervals) == inside


@pytest.mark.parametrize("split", ["train", "held_out"])
@pytest.mark.parametrize("name", DRIFTING)
def test_contexts_are_balanced_over_signs_and_reproducible(name, split):
    drawn = contexts(name, split, 8, seed=5)
    assert sum(context.get("action_sign", 0) for context in drawn) == 0
    assert contexts(name, split, 5, seed=5) == drawn[:5]
    assert contexts(name, split, 8, seed=6) != drawn
    assert len({json.dumps(context) for context in drawn}) == 8
    env = gym.make(name)
    for context in drawn:
        assert env.reset(options={"context": context, "frozen": True})[1]["context"] == context


@pytest.mark.parametrize("name", [name for name in DRIFTING if "action_sign" in CATALOGUE[name].train])
@pytest.mark.parametrize("seed", range(3))
def test_the_contexts_of_a_cycle_have_both_signs_equally_often(name, seed):
    env = gym.make(name, schedule="cycle", num_contexts=4, seed=seed)
    env.reset()
    lifetime = env.get_wrapper_attr("clock").lifetime
    assert sum(lifetime.context(i)["action_sign"] for i in range(4)) == 0
    assert [lifetime.context_id(i) for i in range(8)] == [0, 1, 2, 3] * 2


def balance(env, context, told):
    """The return of a bang-bang controller that is told the sign of its actuator, or believes in +1."""
    env.reset(seed=0, options={"context": context, "frozen": True})
    sign, total, over = context["action_sign"] if told else 1.0, 0.0, False
    while not over:
        push = sign * (env.unwrapped.state @ np.array([0.05, 0.2, 1.0, 0.3]))
        _, reward, terminated, truncated, _ = env.step(int(push > 0))
        total, over = total + reward, terminated or truncated
    return total


def test_training_cartpoles_can_be_held_by_who_is_told_the_sign_alone():
    env = gym.make("Drift/CartPole-v0", transition_observation=False)
    drawn = contexts("Drift/CartPole-v0", "train", 8)
    assert np.mean([balance(env, context, told=True) for context in drawn]) == 500
    assert np.mean([balance(env, context, told=False) for context in drawn]) < 300


def test_cartpole_is_seen_by_noisy_encoders_alone():
    """With velocities one clean transition would tell the sign, and no memory would be needed."""
    env = gym.make("Drift/CartPole-v0", transition_observation=False)
    seen = []
    for seed in range(300):
        observation, _ = env.reset(seed=seed)
        seen.append(observation - env.unwrapped.state[[0, 2]])
    np.testing.assert_allclose(np.std(seen, axis=0), 0.005, rtol=0.15)
    oracle = gym.make("Drift/CartPole-v0", transition_observation=False, observe_context=True)
    observation, info = oracle.reset(seed=1)
    assert observation.shape == (6,) and observation[2] == info["context"]["action_sign"]


def test_a_drift_of_ones_own_replaces_the_default():
    drift = json.loads(json.dumps(envs.Drift({"pole_mass": 0.5}).to_json()))
    env = gym.make("Drift/CartPole-v0", drift=drift)
    _, info = env.reset(seed=0)
    assert info["context"] == {"pole_mass": 0.5}
    assert env.unwrapped.polemass_length == 0.5 * 0.5


def test_a_spec_in_json_makes_the_same_environment():
    env = gym.make("Drift/CartPole-v0", schedule="cycle", phase_steps=30, seed=4)
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert same(play(env, 100), play(again, 100))


@pytest.mark.parametrize(
    ("kwargs", "sentence"),
    [
        ({"schedule": "foo"}, 'schedule=\'foo\': expected "draw", "random" or "cycle"'),
        ({"change_at": "noon"}, 'expected "episode_end" or "step"'),
        ({"phase_steps": 0}, "at least 1 step"),
        ({"phase_steps": 10**20}, "no more than 1,000,000,000,000"),
        ({"phase_steps": 1e20, "schedule": "random"}, "at most 1,000,000,000,000"),
        ({"change_scale": 0.0}, "change_scale is 0.0: expected finite numbers above 0"),
        ({"schedule": "cycle", "num_contexts": 0}, "at least 1 value"),
        ({"change_scale": [1.0, 2.0, 3.0]}, "expected a number or 2 of them"),
        ({"drift": {"mass": 1}}, "keys parameters"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_sentence(kwargs, sentence):
    with pytest.raises(ValueError, match=sentence):
        gym.make("Drift/CartPole-v0", **kwargs)


def test_unknown_names_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="not in the catalogue: expected one of Drift/CartPole-v0"):
        contexts("CartPole-v1")
    with pytest.raises(ValueError, match='split=\'test\': expected "train" or "held_out"'):
        contexts("Drift/CartPole-v0", "test")


def test_pendulum_hides_its_sign_from_one_clean_transition():
    """Cosine and sine alone, with noise: a torque changes the velocity, which takes three of them to be seen."""
    env, noise = make("Drift/Pendulum-v0", seed=0), 0.01
    env.reset()
    observation = env.step(np.zeros(1, np.float32))[0]
    clean = env.unwrapped._get_obs()[:2]
    assert env.transition_layout["change"] == (2, 4)
    assert 0 < np.abs(observation[:2] - clean).max() < 6 * noise


def run_python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_leaves_the_heavy_libraries_alone():
    code = "import sys, envs; print(sorted({'torch', 'stable_baselines3', 'memagent', 'numba'} & set(sys.modules)))"
    assert run_python(code).strip() == "[]"


def test_a_fresh_process_finds_the_ids_by_their_module():
    code = "import gymnasium as gym; print(gym.make('envs:Drift/CartPole-v0').reset(seed=0)[1]['phase'])"
    assert run_python(code).strip() == "0"


def test_python_m_envs_lists_every_id_with_its_ranges():
    done = subprocess.run([sys.executable, "-m", "envs"], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in DRIFTING)
    assert "half_length    m      0.25–1           | 0.12–0.2, 1.2–1.5" in done.stdout

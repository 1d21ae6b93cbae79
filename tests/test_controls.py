"""The control of every id: what it trains, and how its scores become a verdict."""

import numpy as np
import pytest
from gymnasium import spaces

import envs
from benchmarks.aids import SignUndone
from benchmarks.controls import AGENTS, CONTROLS, RESULTS, contexts_of, summarise, table
from benchmarks.runs import load


def test_every_id_has_a_control():
    assert list(CONTROLS) == list(envs.CATALOGUE)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_catalogue_says_what_the_controls_showed(name):
    measured = load(RESULTS)["summary"].get(name, {"matters": False})  # not yet: nothing is shown
    assert measured["matters"] is envs.CATALOGUE[name].shown


def test_contexts_are_those_of_training():
    chosen = contexts_of("Drift/PointGoal-v0")
    assert len(chosen) == 16 and all(abs(c.context["goal_x"]) <= 0.7 for c in chosen)


def results(name, random, untold, told):
    return [
        {
            "id": name,
            "agent": agent,
            "seed": seed,
            "steps": 10,
            "contexts": [{"split": "train", "adapted": False, "mean_return": score + seed} for _ in range(3)],
        }
        for agent, score in zip(AGENTS, (random, untold, told), strict=True)
        for seed in (0,)
    ]


def test_what_hangs_on_the_context_is_a_share_of_what_can_be_gained():
    runs = results("Drift/Pendulum-v0", -1000, -900, -200) + results("Drift/HalfCheetah-v0", 0, 900, 1000)
    summary = summarise(
        runs + results("Drift/Hopper-v0", 10, 10, 5) + results("Drift/Walker2d-v0", 0, 0, 1)[:2]
    )
    assert summary["Drift/Pendulum-v0"]["share_of_the_context"] == 0.88
    assert summary["Drift/Pendulum-v0"]["matters"]
    assert summary["Drift/HalfCheetah-v0"]["share_of_the_context"] == 0.1
    assert not summary["Drift/HalfCheetah-v0"]["matters"]
    assert not summary["Drift/Hopper-v0"]["matters"]  # who is told learned nothing: no proof
    assert "Drift/Walker2d-v0" not in summary  # not complete
    assert "88%" in table(summary) and "10%, too little" in table(summary)


@pytest.mark.parametrize("name", ["Drift/Pendulum-v0", "Drift/HalfCheetah-v0", "Drift/Acrobot-v0"])
def test_who_is_told_of_the_sign_meets_the_same_environment_under_either(name):
    context = {p: low for p, (low, _) in envs.default_drift(name).moving.items()}
    lives = []
    for sign in (-1.0, 1.0):
        env = SignUndone(envs.make_vec(name, 1, seed=0, observe_context=True), name)
        env.set_options([{"context": context | {"action_sign": sign}, "frozen": True}])
        obs = [env.reset()]
        assert env.reversed == (sign < 0)
        discrete = isinstance(env.action_space, spaces.Discrete)
        action = np.array([2]) if discrete else np.full((1, *env.action_space.shape), 0.3, np.float32)
        obs += [env.step(action)[0] for _ in range(5)]
        lives.append(np.delete(np.array(obs), env.sign_at, axis=-1))
    np.testing.assert_array_equal(*lives)
    assert not SignUndone.fits("Drift/PointGoal-v0")

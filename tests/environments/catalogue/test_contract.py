"""The contract that every id of the catalogue keeps."""

import json
import warnings
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from environments.plays import play, same
from gymnasium.utils.env_checker import check_env as gymnasium_check
from stable_baselines3.common.env_checker import check_env as sb3_check

import envs
from envs.catalogue import CATALOGUE, PROBES, contexts

DRIFTING = list(CATALOGUE)
INFO = {"phase": int, "context_id": int, "phase_changed": bool, "context": dict, "steps_since_change": int}
# What checkers say about environments that are all right.
EXPECTED_WARNINGS = (
    "is different from the unwrapped version",  # of any wrapped environment
    "is -infinity",  # rewards, noise and CartPole's velocities have no bounds
    "is infinity",
    "normalized space",  # Pendulum's torque, ±2, is Gymnasium's own
    "normalized Box action space",
)


@pytest.mark.parametrize("check", [gymnasium_check, sb3_check])
@pytest.mark.parametrize("kwargs", [{}, {"observe_context": True}, {"transition_observation": False}])
@pytest.mark.parametrize("name", DRIFTING)
def test_checkers_have_nothing_new_to_say(name, kwargs, check, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # MuJoCo's pictures need OpenGL, and its window a screen, which a server has not
        skip = CATALOGUE[name].extra == "mujoco"
        check(gym.make(name, **kwargs), skip_render_check=skip)
    new = [str(w.message) for w in said if not any(known in str(w.message) for known in EXPECTED_WARNINGS)]
    assert new == []


@pytest.mark.parametrize("check", [gymnasium_check, sb3_check])
@pytest.mark.parametrize("kwargs", [{}, {"transition_observation": False}])
@pytest.mark.parametrize("name", PROBES)
def test_checkers_have_nothing_new_to_say_of_a_probe(name, kwargs, check):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check(gym.make(name, **kwargs))
    assert [
        str(w.message) for w in said if not any(known in str(w.message) for known in EXPECTED_WARNINGS)
    ] == []


@pytest.mark.parametrize("schedule", ["draw", "random", "cycle"])
@pytest.mark.parametrize("name", DRIFTING)
def test_every_id_keeps_the_contract(name, schedule):
    def make():
        return gym.make(name, schedule=schedule, phase_steps=60, max_episode_steps=50)

    env = make()
    space, record = env.observation_space, play(env, 500, seed=3)
    assert env.observation_space == space
    infos = [step[-1] for step in record]
    for observation, *_, info in record:
        assert observation in env.observation_space
        assert {key: type(info[key]) for key in INFO if key != "context"} == {
            key: kind for key, kind in INFO.items() if key != "context"
        }
        assert set(info["context"]) == set(CATALOGUE[name].train)
    phases = [info["phase"] for info in infos]
    assert phases[-1] >= 2
    assert all(b - a in (0, 1) for a, b in pairwise(phases))
    # the context is constant within a phase, and an id is a context
    assert len({(i["phase"], i["context_id"]) for i in infos}) == len(set(phases))
    ids = {i["context_id"]: i["context"] for i in infos}
    assert all(i["context"] == ids[i["context_id"]] for i in infos)
    if schedule == "cycle":
        assert len(ids) <= 4
    again = play(make(), 150, seed=3)
    assert same(again, record[: len(again)])  # another environment
    assert same(again, play(env, 150, seed=3))  # the same one, on a new lifetime
    assert not same(again, play(env, 150, seed=4))


@pytest.mark.parametrize("name", DRIFTING)
def test_a_frozen_context_holds_and_the_training_clock_stands_still(name):
    env, undisturbed = (gym.make(name, phase_steps=40, max_episode_steps=30) for _ in range(2))
    before, same_before = play(env, 100, seed=1), play(undisturbed, 100, seed=1)
    assert same(before, same_before)
    context = contexts(name, "held_out", 1)[0]
    _, info = env.reset(seed=9, options={"context": context, "frozen": True})
    assert info["context"] == context
    for _ in range(2):
        held = [step[-1] for step in play(env, 60)]
        assert all(i["context"] == context and not i["phase_changed"] for i in held)
    _, after = env.reset(options={"frozen": False})
    _, expected = undisturbed.reset()
    assert {key: after[key] for key in INFO} == {key: expected[key] for key in INFO}


@pytest.mark.parametrize("name", DRIFTING)
@pytest.mark.parametrize("change_at", ["episode_end", "step"])
def test_a_saved_state_goes_on_exactly(name, change_at):
    env, other = (gym.make(name, phase_steps=25, change_at=change_at, max_episode_steps=40) for _ in range(2))
    play(env, 93, seed=2)
    state = json.loads(json.dumps(envs.get_state(env)))
    other.reset(seed=7)
    envs.set_state(other, state)
    other.action_space.seed(5), env.action_space.seed(5)
    for _ in range(130):
        action = env.action_space.sample()
        ours, theirs = env.step(action), other.step(action)
        assert same(ours, theirs)
        if ours[2] or ours[3]:
            assert same(env.reset(), other.reset())


@pytest.mark.parametrize("name", DRIFTING)
def test_the_truth_is_in_info_alone_unless_asked_for(name):
    plain, oracle = gym.make(name), gym.make(name, observe_context=True)
    moving = plain.get_wrapper_attr("drift").moving
    layout, wider = (e.get_wrapper_attr("transition_layout") for e in (plain, oracle))
    sensors = CATALOGUE[name].sensors or range(gym.make(CATALOGUE[name].base).observation_space.shape[0])
    assert layout["observation"][1] == len(sensors)
    assert wider["observation"][1] == layout["observation"][1] + len(moving)
    assert plain.observation_space.shape == (layout["start"][1],)
    told = oracle.reset(seed=0)[0][layout["observation"][1] : wider["observation"][1]]
    assert (np.abs(told) <= 1).all() and (told != 0).all()


@pytest.mark.parametrize("name", DRIFTING)
def test_time_limits_are_the_base_environments(name):
    assert gym.spec(name).max_episode_steps == gym.spec(CATALOGUE[name].base).max_episode_steps


def test_no_warning_without_a_checker():
    for name in DRIFTING:  # warnings are errors here
        play(gym.make(name), 250, seed=0)


def rendered(name, mode):
    """What an id gives for a render mode: the environment's own mode, and the type of a picture."""
    env = gym.make(name, render_mode=mode)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    picture = env.render()
    env.close()
    return env.render_mode, type(picture)


# Bodies of MuJoCo take OpenGL, which a server has not.
@pytest.mark.filterwarnings("ignore:.*HumanRendering wrapper is being applied")
@pytest.mark.parametrize("mode", ["human", "rgb_array", "rgb_array_list"])
@pytest.mark.parametrize("name", [name for name in DRIFTING if CATALOGUE[name].extra != "mujoco"])
def test_render_modes_are_those_of_the_base_environment(name, mode, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert rendered(name, mode) == rendered(CATALOGUE[name].base, mode)
    assert rendered(name, mode)[0] == mode


@pytest.mark.parametrize("name", [*DRIFTING, *PROBES])
def test_a_render_mode_that_there_is_not_is_refused(name):
    with pytest.raises(gym.error.UnsupportedMode, match=f"{name} has no render_mode 'ansi': expected None"):
        gym.make(name, render_mode="ansi")

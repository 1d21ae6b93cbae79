"""DriftingEnv: phases, seeds, frozen contexts, the oracle."""

import copy
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from envs import make_vec
from envs.drift import Drift
from envs.plants import Plant, PlantParameter
from envs.schedules import Choice, Geometric, Listed, Periodic, Steps, Uniform
from envs.wrappers import DriftingEnv

SOURCES = {
    "action_sign": Choice((-1, 1)),
    "half_length": Uniform(((0.25, 1.0),)),
    "gravity": Uniform(((6, 14),)),
}
INFO = {"phase": int, "context_id": int, "phase_changed": bool, "steps_since_change": int}


def cartpole(drift=None, seed=0, **kwargs):
    drift = Drift.draws(SOURCES, Periodic(50)) if drift is None else drift
    return DriftingEnv(gym.make("CartPole-v1"), drift, seed, **kwargs)


def stream(env, steps, seed=None, action_seed=0):
    """Everything an agent with random actions meets: observations, rewards, infos; resets where episodes end."""
    rng = np.random.default_rng(action_seed)
    observation, info = env.reset(seed=seed)
    record = [(observation.tolist(), 0.0, copy.deepcopy(info))]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(int(rng.integers(2)))
        record.append((observation.tolist(), reward, copy.deepcopy(info)))
        if terminated or truncated:
            observation, info = env.reset()
            record.append((observation.tolist(), 0.0, copy.deepcopy(info)))
    return record


def test_info_has_every_key_on_every_step_and_reset():
    for _, _, info in stream(cartpole(), 200):
        assert {key: type(info[key]) for key in INFO} == INFO
        assert set(info["context"]) == set(SOURCES)
        assert all(type(value) is float for value in info["context"].values())
        json.dumps(info)


def test_phases_begin_at_the_first_episode_end_after_they_are_due():
    env = cartpole()
    env.reset()
    phases, due = [0], 50
    for clock in range(1, 601):
        _, _, terminated, truncated, info = env.step(clock % 2)
        assert info["phase"] == phases[-1]
        if terminated or truncated:
            changes = clock >= due
            if changes:
                phases.append(phases[-1] + 1)
                due = (clock // 50 + 1) * 50
            _, info = env.reset()
            assert info["phase_changed"] == changes
        assert info["phase"] == phases[-1]
    assert len(phases) > 5


def test_phase_changed_rides_on_the_first_step_and_on_the_reset_before_it():
    env = cartpole(Drift({"half_length": Steps((0.5, 1.0), Listed((3,)))}))
    _, info = env.reset()
    assert not info["phase_changed"]  # the first phase is no change
    for since in range(4):
        info = env.step(0)[-1]
        assert (info["phase"], info["phase_changed"], info["steps_since_change"]) == (0, False, since)
    _, info = env.reset()
    assert (info["phase"], info["phase_changed"], info["steps_since_change"]) == (1, True, 0)
    _, info = env.reset()  # no step has been made under the new context
    assert info["phase_changed"]
    assert env.step(0)[-1]["phase_changed"]
    info = env.step(0)[-1]
    assert (info["phase"], info["phase_changed"], info["steps_since_change"]) == (1, False, 1)
    assert env.unwrapped.length == 1.0


def test_change_at_step_changes_the_dynamics_within_an_episode():
    env = cartpole(
        Drift({"gravity": Steps((9.8, 20.0), Listed((3,)))} | {"action_sign": 1}, change_at="step")
    )
    plain = gym.make("CartPole-v1")
    env.reset(seed=1)
    plain.reset(seed=1)
    for t in range(5):
        if t == 3:
            plain.unwrapped.gravity = 20.0
        observation, *_, info = env.step(t % 2)
        np.testing.assert_array_equal(observation, plain.step(t % 2)[0])
        assert (info["phase"], info["phase_changed"]) == (int(t >= 3), t == 3)


def test_a_context_that_returns_is_the_same_to_the_bit():
    env = cartpole(Drift.draws(SOURCES, Periodic(1), recurring=3))
    visits = {}
    for _ in range(9):
        _, info = env.reset()
        visits.setdefault(info["context_id"], []).append(
            (info["context"], env.unwrapped.length, env.unwrapped.gravity)
        )
        env.step(0)
    assert sorted(visits) == [0, 1, 2]
    assert all(len(v) == 3 and v[0] == v[1] == v[2] for v in visits.values())


def test_two_environments_share_nothing():
    a, b = cartpole(seed=1), cartpole(seed=2)
    alone = stream(cartpole(seed=1), 150)
    b.reset()
    mixed = stream(a, 75)
    b.step(0), b.reset()
    assert mixed == alone[: len(mixed)]
    assert a.unwrapped.length != b.unwrapped.length


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    other=st.integers(0, 2**32),
    times=st.sampled_from([Periodic(30), Geometric(30)]),
    change_at=st.sampled_from(["step", "episode_end"]),
)
def test_the_same_seed_is_the_same_lifetime_and_another_is_not(seed, other, times, change_at):
    drift = Drift.draws(SOURCES, times, change_at=change_at)
    env = cartpole(drift, seed=1)
    stream(env, 40)
    first = stream(env, 100, seed=seed)  # a new lifetime in an environment that has lived
    assert stream(cartpole(drift, seed=seed), 100) == first
    assert (stream(cartpole(drift), 100, seed=other) == first) == (seed == other)


def test_reset_without_a_seed_goes_on_and_a_drawn_seed_can_be_read():
    env = cartpole(seed=None)
    record = stream(env, 120)
    assert env.clock.step == 120
    assert stream(cartpole(seed=None), 120) != record
    assert stream(env, 120, seed=env.lifetime_seed) == record


def test_a_frozen_context_holds_through_resets_and_leaves_the_clock_alone():
    env, twin = cartpole(), cartpole()
    for e in (env, twin):
        e.reset()
        for _ in range(49):
            e.step(0) if e.clock.step % 7 else (e.reset(), e.step(0))
    held = {"action_sign": -1.0, "half_length": 1.4, "gravity": 3.0}
    _, info = env.reset(options={"context": held, "frozen": True})
    for t in range(200):
        assert (info["context"], info["context_id"], info["phase"]) == (held, -1, 0)
        assert not info["phase_changed"]
        *_, terminated, _, info = env.step(t % 2)
        assert info["steps_since_change"] == t
        assert env.unwrapped.length == 1.4
        if terminated:
            _, info = env.reset()
    assert env.clock.step == 49
    env.reset(options={"frozen": False})
    twin.reset()
    for e in (env, twin):
        e.step(0)
    (_, info), (_, expected) = env.reset(), twin.reset()
    assert info == expected
    assert info["phase_changed"] and env.clock.step == 50


def test_a_freeze_between_a_change_and_its_first_step_does_not_lose_the_news():
    env = cartpole(Drift({"half_length": Steps((0.5, 1.0), Listed((1,)))}))
    env.reset()
    env.step(0)
    assert env.reset()[1]["phase_changed"]
    env.reset(options={"context": {"half_length": 0.7}, "frozen": True})
    assert not env.step(0)[-1]["phase_changed"]
    env.reset(options={"frozen": False})
    info = env.step(0)[-1]
    assert info["phase_changed"] and info["context"] == {"half_length": 1.0}


def test_a_seed_while_frozen_seeds_the_episode_and_not_the_lifetime():
    env = cartpole(seed=5)
    env.reset()
    env.step(0)
    options = {"context": 2, "frozen": True}
    starts = [env.reset(seed=8, options=options)[0] for _ in range(2)]
    np.testing.assert_array_equal(*starts)
    assert (env.lifetime_seed, env.clock.step) == (5, 1)
    env.reset(seed=9)
    assert (env.lifetime_seed, env.clock.step) == (5, 1)
    assert env.reset(seed=9, options={"frozen": False})[1]["steps_since_change"] == 0
    assert (env.lifetime_seed, env.clock.step) == (9, 0)


def test_a_context_can_be_held_by_its_id_or_as_it_is():
    env = cartpole()
    seen = {info["context_id"]: info["context"] for _, _, info in stream(env, 400)}
    for context_id, context in seen.items():
        _, info = env.reset(options={"context": context_id, "frozen": True})
        assert (info["context"], info["context_id"]) == (context, context_id)
    env.reset(options={"frozen": False})
    present = env.step(0)[-1]
    _, info = env.reset(options={"frozen": True})
    assert (info["context"], info["context_id"]) == (present["context"], present["context_id"])


def test_a_partial_context_leaves_the_rest_as_it_is():
    env = cartpole()
    _, before = env.reset()
    _, info = env.reset(options={"context": {"gravity": 20.0}})
    assert info["context"] == {**before["context"], "gravity": 20.0}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"context": {"wind": 1}}, r"names \['wind'\]"),
        ({"context": {"gravity": -1}}, "above 0"),
        ({"context": 0, "frozen": False}, "held, or left out"),
        ({"context": -3}, "no context -3"),
    ],
)
def test_impossible_options_are_refused_in_a_sentence(options, sentence):
    env = cartpole()
    env.reset()
    with pytest.raises(ValueError, match=sentence):
        env.reset(options=options)


def test_other_options_reach_the_environment():
    env = cartpole()
    observation, _ = env.reset(seed=1, options={"low": 0.02, "high": 0.03, "frozen": True})
    assert (observation >= 0.02).all() and (observation <= 0.03).all()


def test_the_oracle_is_told_the_moving_parameters_scaled_to_their_range():
    drift = Drift({**Drift.draws(SOURCES, Periodic(20)).parameters, "force": 12.0})
    env = cartpole(drift, observe_context=True)
    assert env.observation_space.shape == (7,)
    for observation, _, info in stream(env, 100):
        c = info["context"]
        scaled = [c["action_sign"], (c["half_length"] - 0.625) / 0.375, (c["gravity"] - 10) / 4]
        np.testing.assert_allclose(observation[4:], scaled, rtol=1e-6)
        assert np.array(observation, np.float32) in env.observation_space
    observation, _ = env.reset(options={"context": {"gravity": 20.0}, "frozen": True})
    assert observation[6] == 2.5


def test_any_environment_can_bring_its_own_plant():
    def write(env, value):
        env.force = value

    force = PlantParameter("", "the car's engine", positive=True, read=lambda env: env.force, write=write)
    plant = Plant({"engine": force}, derive=lambda env: None, state=("state",))
    drift = Drift({"engine": Steps((0.001, 0.005), Periodic(5)), "action_sign": -1})
    env = DriftingEnv(gym.make("MountainCar-v0"), drift, 0, plant=plant)
    env.reset()
    for _ in range(5):
        env.step(0)
    _, info = env.reset()
    assert env.unwrapped.force == info["context"]["engine"] == 0.005


def test_autoreset_inside_is_refused_and_outside_does_not_move_the_clock():
    inside = gym.wrappers.Autoreset(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="put it outside"):
        DriftingEnv(inside, Drift({"gravity": 5}))
    env = gym.wrappers.Autoreset(cartpole())
    env.reset()
    real, over = 0, False
    for t in range(300):
        _, _, terminated, truncated, _ = env.step(t % 2)
        real += not over
        over = terminated or truncated
    assert env.get_wrapper_attr("clock").step == real < 300


def test_the_clock_asks_for_a_reset_first():
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        _ = cartpole().clock


def test_infos_can_be_kept_copied_and_sent():
    env = cartpole()
    _, first = env.reset()
    second = env.step(0)[-1]
    second["context"]["gravity"] = 0.0
    assert first["context"]["gravity"] != 0.0 and env.step(0)[-1]["context"]["gravity"] != 0.0
    duplicate = copy.deepcopy(second)
    duplicate["context"]["gravity"] = 1.0
    assert second["context"]["gravity"] == 0.0
    assert pickle.loads(pickle.dumps(second)) == second


def test_spaces_and_bounds_are_checked_at_construction():
    with pytest.raises(ValueError, match="above 0"):
        cartpole(Drift({"gravity": 0}))
    image = gym.make("CartPole-v1")
    image.observation_space = spaces.Box(0, 1, (2, 2))
    with pytest.raises(ValueError, match="observe_context needs a flat Box"):
        DriftingEnv(image, Drift.draws(SOURCES, Periodic(5)), observe_context=True)


@pytest.mark.parametrize(
    "wrong", [{"action_sign": 0.5}, {"gravity": float("nan")}, {"gravity": None}], ids=str
)
@pytest.mark.parametrize("batched", [False, True])
def test_a_context_that_cannot_be_is_refused_and_not_held(wrong, batched):
    name = "Drift/CartPole-v0"
    env = make_vec(name, 1, 0, batched=batched)
    env.reset()
    clock = env.get_attr("clock")[0].get_state()
    env.set_options([{"context": wrong}])
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*expected"):
        env.reset()
    env.set_options([{}])
    env.reset()
    assert env.get_attr("clock")[0].get_state() == clock


def test_a_plants_parameter_is_not_the_channels_of_the_same_name():
    class Gain(gym.Env):
        observation_space = action_space = spaces.Box(-10.0, 10.0, (1,), np.float64)
        gain = 1.0

        def reset(self, *, seed=None, options=None):
            return np.zeros(1), {}

        def step(self, action):
            return self.gain * action, 0.0, False, False, {}

    own = PlantParameter(
        "", "gain", False, lambda env: env.gain, lambda env, value: setattr(env, "gain", value)
    )
    env = DriftingEnv(Gain(), Drift({"action_gain": np.float32(2.0)}), plant=Plant({"action_gain": own}))
    env.reset()
    assert env.step(np.ones(1))[0] == 2.0
